"""Tiles (rows of one batch entry and head): loads, stores, products and masks, for all kernels.

A tensor (B, H, N, D) arrives as a pointer with three strides (the last one is 1), or as a tensor
descriptor for Hopper's copy engine (TMA), which spares the registers that addresses take. In a
kernel one head of it is a tuple: the source (None where there is none), the elements before the
head, and the elements from row to row.
"""

import triton
import triton.language as tl


@triton.jit
def head_offset(b: tl.tensor, h: tl.tensor, stride_b: tl.tensor, stride_h: tl.tensor) -> tl.tensor:
    """Elements before head h of batch entry b, in 64 bits: tensors may exceed 2^31 elements."""
    return b.to(tl.int64) * stride_b + h.to(tl.int64) * stride_h


@triton.jit
def load_tile(
    head: tl.tuple, b: tl.tensor, h: tl.tensor, row: tl.tensor, n: tl.tensor,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    MASKED: tl.constexpr, TMA: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Rows [row, row + ROWS) as (ROWS, COLUMNS): zeros from column D, and if MASKED from row n.

    With TMA the copy engine computes addresses and zeros by itself.
    """
    source, offset, stride = head
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
def load_own(
    head: tl.tuple, otherwise: tl.tensor, b: tl.tensor, h: tl.tensor, row: tl.tensor,
    n: tl.tensor, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TMA: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """The rows that a program works on; a placeholder (`otherwise`) where there is no source."""
    if head[0] is not None:
        tile = load_tile(head, b, h, row, n, D, ROWS, COLUMNS, True, TMA)
    else:
        tile = otherwise
    return tile


@triton.jit
def store_tile(
    head: tl.tuple, row: tl.tensor, n: tl.tensor, tile: tl.tensor,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Store (ROWS, COLUMNS) at rows [row, row + ROWS), leaving out rows >= n and columns >= D."""
    target, offset, stride = head
    rows = tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    start = target + offset + tl.cast(row, tl.int64) * stride
    pointers = start + rows[:, None] * stride + columns[None, :]
    inside = (rows[:, None] < n - row) & (columns[None, :] < D)
    tl.store(pointers, narrow(tile, target.dtype.element_ty, PRECISION), mask=inside)


@triton.jit
def load_statistic(
    source: tl.tensor, row: tl.tensor, n: tl.tensor, outside: tl.constexpr,
    ROWS: tl.constexpr, MASKED: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """One number per row for rows [row, row + ROWS); `outside` from row n on if MASKED."""
    rows = row + tl.arange(0, ROWS)
    if MASKED:
        statistic = tl.load(source + rows, mask=rows < n, other=outside)
    else:
        statistic = tl.load(source + rows)
    return statistic


@triton.jit
def visible(
    start_m: tl.tensor, start_n: tl.tensor, Nk: tl.tensor,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, CAUSAL: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """(M, N) or, for keys that all queries see, (1, N): whether the query sees the key."""
    columns = start_n + tl.arange(0, BLOCK_N)
    keep = (columns < Nk)[None, :]
    if CAUSAL:
        rows = start_m + tl.arange(0, BLOCK_M)
        keep = keep & (rows[:, None] >= columns[None, :])
    return keep


@triton.jit
def logits(a: tl.tensor, b: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """a b for an exponential: float64 for float32 operands, else float32.

    P inherits the rounding of its logits: float32 sums of size 900 would put 3e-4 into gradients.
    Data-centre GPUs multiply float64 on tensor cores as fast as float32 without them.

    PRECISION: ieee, tf32 (then float32 operands too give float32), or wide. wide is for the
    interpreter, which multiplies bfloat16 as if it were integers.
    """
    if a.dtype == tl.float32 and PRECISION != "tf32":
        ab = tl.dot(a.to(tl.float64), b.to(tl.float64))
    elif PRECISION == "wide":
        ab = tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    else:
        ab = tl.dot(a, b, input_precision=PRECISION)
    return ab


@triton.jit
def product(a: tl.tensor, b: tl.tensor, acc: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """a b + acc in float32 (acc may be None)."""
    if PRECISION == "wide" or (a.dtype == tl.float32 and PRECISION != "tf32"):
        ab = logits(a, b, PRECISION).to(tl.float32)
        if acc is not None:
            ab += acc
    else:
        ab = tl.dot(a, b, acc, input_precision=PRECISION)
    return ab


@triton.jit
def exponential(s: tl.tensor, exponent_scale: tl.tensor, shift: tl.tensor) -> tl.tensor:
    """2^(exponent_scale s - shift) in float32, rounded only after the subtraction."""
    return tl.exp2((s * exponent_scale - shift.to(s.dtype)).to(tl.float32))


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


@triton.jit
def with_flag(x: tl.tensor, flag: tl.tensor) -> tl.tensor:
    """Float32 x with a flag in its last bit, which is below what x is good for."""
    bits = x.to(tl.int32, bitcast=True) & ~1
    return (bits | flag.to(tl.int32)).to(tl.float32, bitcast=True)


@triton.jit
def any_flag(x: tl.tensor) -> tl.tensor:
    """Whether one of `with_flag`'s numbers has its flag set."""
    return tl.max(x.to(tl.int32, bitcast=True) & 1) > 0
