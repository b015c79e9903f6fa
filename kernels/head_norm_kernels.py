"""Kernels of the norm of queries or keys, head by head, with its tangent and their backward.

Rows are heads of tokens, D numbers each: y = s n with n = r x, r = (mean(x²) + eps)^(-1/2), and
y' = s n' with n' = r x' + r' x, r' = -r³ mean(x x'). Inputs are parts of (tokens, 3, H, D), a
stride from token to token; outputs lie dense. All arithmetic is in float32. Tangents may be None.
"""

import triton
import triton.language as tl

from kernels.head_norm_epilogue import norm_backward


@triton.jit
def _load(source: tl.tensor, offsets: tl.tensor, inside: tl.tensor) -> tl.tensor:
    return tl.load(source + offsets, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(target: tl.tensor, offsets: tl.tensor, value: tl.tensor, inside: tl.tensor) -> None:
    tl.store(target + offsets, value.to(target.dtype.element_ty), mask=inside)


@triton.jit
def _places(
    row: tl.tensor, stride: tl.tensor, H: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr
) -> tl.tensor:
    """Offsets (rows, BLOCK_D) of heads whose tokens are a stride apart."""
    start = (row // H).to(tl.int64) * stride + row % H * D
    return start[:, None] + tl.arange(0, BLOCK_D)[None, :]


@triton.jit
def head_norm_forward_kernel(
    x: tl.tensor, tx: tl.tensor, scale: tl.tensor, y: tl.tensor, ty: tl.tensor,
    stride: tl.tensor, tstride: tl.tensor, rows: tl.tensor, eps: tl.tensor,
    H: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
) -> None:  # fmt: skip
    """y and y' of ROWS rows."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK_D)
    inside = (row < rows)[:, None] & (column < D)[None, :]
    s = _load(scale, column, column < D)[None, :]
    out = _places(row, H * D, H, D, BLOCK_D)
    u = _load(x, _places(row, stride, H, D, BLOCK_D), inside)
    r = tl.rsqrt(tl.sum(u * u, 1) / D + eps)[:, None]
    _store(y, out, s * r * u, inside)
    if tx is not None:
        tu = _load(tx, _places(row, tstride, H, D, BLOCK_D), inside)
        mean = (tl.sum(u * tu, 1) / D)[:, None]
        _store(ty, out, s * r * (tu - r * r * mean * u), inside)


@triton.jit
def head_norm_backward_kernel(
    x: tl.tensor, tx: tl.tensor, scale: tl.tensor, dy: tl.tensor, dty: tl.tensor,
    dx: tl.tensor, dtx: tl.tensor, dv: tl.tensor, dtv: tl.tensor, v_out: tl.tensor,
    tv_out: tl.tensor, of_scale: tl.tensor, of_bias: tl.tensor, of_v_bias: tl.tensor,
    stride: tl.tensor, tstride: tl.tensor, dstride: tl.tensor, tokens: tl.tensor, eps: tl.tensor,
    H: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
    STEPS: tl.constexpr, STAGES: tl.constexpr,
) -> None:  # fmt: skip
    """Gradients of x and x' by the cotangents dy and dy' in one head of STEPS times ROWS tokens.

    Those of x lie a stride apart. Where there are dv and dv' they are copied, from where they lie
    dense to a stride apart. `of_scale` (parts, H, D) takes a part of the gradient of the scale, and
    `of_bias` (parts, 3, H, D) the sum of dx over these tokens, `of_v_bias` that of dv.
    """
    head = tl.program_id(0) % H
    part = tl.program_id(0) // H
    column = tl.arange(0, BLOCK_D)
    s = _load(scale, column, column < D)[None, :]
    ds = tl.zeros((ROWS, BLOCK_D), tl.float32)
    bias = tl.zeros((ROWS, BLOCK_D), tl.float32)
    v_bias = tl.zeros((ROWS, BLOCK_D), tl.float32)
    begin = part * (STEPS * ROWS)
    for first in tl.range(begin, begin + STEPS * ROWS, ROWS, num_stages=STAGES):
        token = first + tl.arange(0, ROWS)
        inside = (token < tokens)[:, None] & (column < D)[None, :]
        far = token.to(tl.int64)[:, None]
        within = head * D + column[None, :]
        dense = far * (H * D) + within
        out = far * dstride + within
        u = _load(x, far * stride + within, inside)
        v = _load(dy, dense, inside)
        tu = u
        tv = v
        if tx is not None:
            tu = _load(tx, far * tstride + within, inside)
            tv = _load(dty, dense, inside)
        down, tdown, of_s = norm_backward(
            u, tu, v, tv, s, token < tokens, eps, D, tx is not None
        )  # fmt: skip
        ds += of_s
        if tx is not None:
            _store(dtx, out, tdown, inside)
        _store(dx, out, down, inside)
        bias += down
        if dv is not None:
            copied = _load(dv, dense, inside)
            _store(v_out, out, copied, inside)
            v_bias += copied
        if dtv is not None:
            _store(tv_out, out, _load(dtv, dense, inside), inside)
    tl.store(of_scale + tl.program_id(0) * D + column, tl.sum(ds, 0), mask=column < D)
    place = part * (3 * H * D) + head * D + column
    tl.store(of_bias + place, tl.sum(bias, 0), mask=column < D)
    if dv is not None:
        tl.store(of_v_bias + place, tl.sum(v_bias, 0), mask=column < D)
