"""Kernels of the tanh-GELU with its tangent, and of the backward of both.

    h = z s(q), q = sqrt(8 / pi) (z + 0.044715 z³), s the logistic function        h' = g z'
    g = dh/dz = s + z s (1 - s) dq/dz

A program takes some rows of a block of columns, so that the sums over rows that a layer's bias
needs stay in registers. All arithmetic is in float32. Tangents may be None.
"""

import triton
import triton.language as tl


@triton.jit
def _slopes(z: tl.tensor) -> tl.tuple:
    """s, and the first and second derivatives of h by z."""
    FACTOR: tl.constexpr = 1.5957691216057308  # sqrt(8 / pi)
    CUBIC: tl.constexpr = 0.044715
    square = z * z
    s = tl.sigmoid(z * (square * (FACTOR * CUBIC) + FACTOR))
    dq = square * (3.0 * FACTOR * CUBIC) + FACTOR
    ds = s * (1.0 - s)
    first = s + z * ds * dq
    second = ds * (2.0 * dq + z * ((1.0 - 2.0 * s) * dq * dq + z * (6.0 * FACTOR * CUBIC)))
    return s, first, second


@triton.jit
def gelu_forward_kernel(
    z: tl.tensor, tz: tl.tensor, h: tl.tensor, th: tl.tensor, total: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """h and h' of BLOCK numbers of `total`."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < total
    x = tl.load(z + place, mask=inside, other=0.0).to(tl.float32)
    s, slope, _ = _slopes(x)
    tl.store(h + place, (x * s).to(h.dtype.element_ty), mask=inside)
    if tz is not None:
        tx = tl.load(tz + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(th + place, (slope * tx).to(th.dtype.element_ty), mask=inside)


@triton.jit
def gelu_backward_kernel(
    z: tl.tensor, tz: tl.tensor, dh: tl.tensor, dth: tl.tensor, dz: tl.tensor, dtz: tl.tensor,
    h: tl.tensor, th: tl.tensor, sums: tl.tensor,
    C: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr, ROWS: tl.constexpr,
    STAGES: tl.constexpr,
) -> None:  # fmt: skip
    """Gradients of ROWS rows of a block of columns; h and h' once more where they are targets.

    `sums` (row blocks, C) takes the sum of dz over these rows.
    """
    part = tl.program_id(0) // BLOCKS
    column = tl.program_id(0) % BLOCKS * BLOCK + tl.arange(0, BLOCK)
    first = part * ROWS
    inside = column < C
    total = tl.zeros((BLOCK,), tl.float32)
    for row in tl.range(first, first + ROWS, num_stages=STAGES):
        place = tl.cast(row, tl.int64) * C + column
        x = tl.load(z + place, mask=inside, other=0.0).to(tl.float32)
        v = tl.load(dh + place, mask=inside, other=0.0).to(tl.float32)
        s, slope, curve = _slopes(x)
        down = v * slope
        if tz is not None:
            tx = tl.load(tz + place, mask=inside, other=0.0).to(tl.float32)
            tv = tl.load(dth + place, mask=inside, other=0.0).to(tl.float32)
            down += tv * curve * tx
            tl.store(dtz + place, (tv * slope).to(dtz.dtype.element_ty), mask=inside)
            if th is not None:
                tl.store(th + place, (slope * tx).to(th.dtype.element_ty), mask=inside)
        if h is not None:
            tl.store(h + place, (x * s).to(h.dtype.element_ty), mask=inside)
        tl.store(dz + place, down.to(dz.dtype.element_ty), mask=inside)
        total += down
    tl.store(sums + part * C + column, total, mask=inside)
