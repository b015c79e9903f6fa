"""Tiles (rows of one batch entry and head): loads, stores and products, for all kernels.

A tensor (B, H, N, D) arrives as a pointer with three strides (the last one is 1), or as a tensor
descriptor for Hopper's copy engine (TMA), which spares the registers that addresses take.
"""

import triton
import triton.language as tl


@triton.jit
def head_offset(b: tl.tensor, h: tl.tensor, stride_b: tl.tensor, stride_h: tl.tensor) -> tl.tensor:
    """Elements before head h of batch entry b, in 64 bits: tensors may exceed 2^31 elements."""
    return b.to(tl.int64) * stride_b + h.to(tl.int64) * stride_h


@triton.jit
def load_tile(
    source: tl.tensor, offset: tl.tensor, b: tl.tensor, h: tl.tensor, row: tl.tensor,
    stride: tl.tensor, n: tl.tensor, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    MASKED: tl.constexpr, TMA: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Rows [row, row + ROWS) as (ROWS, COLUMNS): zeros from column D, and if MASKED from row n.

    The source is a pointer (offset: the head's first element) or, if TMA, a descriptor of the
    four-dimensional tensor: the copy engine then computes addresses and zeros by itself.
    """
    if TMA:
        tile = tl.reshape(source.load([b, h, row, 0]), (ROWS, COLUMNS))
    else:
        rows = tl.arange(0, ROWS)
        columns = tl.arange(0, COLUMNS)
        start = source + offset + tl.cast(row, tl.int64) * stride
        pointers = start + rows[:, None] * stride + columns[None, :]
        if MASKED and D < COLUMNS:
            inside = (rows[:, None] < n - row) & (columns[None, :] < D)
            tile = tl.load(pointers, mask=inside, other=0.0)
        elif MASKED:
            tile = tl.load(pointers, mask=rows[:, None] < n - row, other=0.0)
        elif D < COLUMNS:
            tile = tl.load(pointers, mask=columns[None, :] < D, other=0.0)
        else:
            tile = tl.load(pointers)
    return tile


@triton.jit
def store_tile(
    target: tl.tensor,
    offset: tl.tensor,
    row: tl.tensor,
    stride: tl.tensor,
    n: tl.tensor,
    tile: tl.tensor,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Store (ROWS, COLUMNS) at rows [row, row + ROWS), leaving out rows >= n and columns >= D."""
    rows = tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    start = target + offset + tl.cast(row, tl.int64) * stride
    pointers = start + rows[:, None] * stride + columns[None, :]
    inside = (rows[:, None] < n - row) & (columns[None, :] < D)
    tl.store(pointers, narrow(tile, target.dtype.element_ty, PRECISION), mask=inside)


@triton.jit
def load_statistic(
    source: tl.tensor,
    row: tl.tensor,
    n: tl.tensor,
    outside: tl.constexpr,
    ROWS: tl.constexpr,
    MASKED: tl.constexpr,
) -> tl.tensor:
    """One float32 per row for rows [row, row + ROWS); `outside` from row n on if MASKED."""
    rows = row + tl.arange(0, ROWS)
    if MASKED:
        statistic = tl.load(source + rows, mask=rows < n, other=outside)
    else:
        statistic = tl.load(source + rows)
    return statistic


@triton.jit
def product(a: tl.tensor, b: tl.tensor, acc: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """a b + acc in float32 (acc may be None). PRECISION: ieee, tf32, or wide.

    wide is for the interpreter, which multiplies bfloat16 as if it were integers.
    """
    if PRECISION == "wide":
        ab = tl.dot(a.to(tl.float32), b.to(tl.float32), acc, input_precision="ieee")
    else:
        ab = tl.dot(a, b, acc, input_precision=PRECISION)
    return ab


@triton.jit
def narrow(x: tl.tensor, dtype: tl.constexpr, PRECISION: tl.constexpr) -> tl.tensor:
    """Float32 x in dtype, rounded to nearest even.

    The interpreter cuts bfloat16 off instead: there the half is added by hand first.
    """
    if PRECISION == "wide" and dtype == tl.bfloat16:
        bits = x.to(tl.uint32, bitcast=True)
        bits = bits + 0x7FFF + ((bits >> 16) & 1)
        narrowed = bits.to(tl.float32, bitcast=True).to(dtype)
    else:
        narrowed = x.to(dtype)
    return narrowed
