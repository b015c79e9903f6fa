"""The backward of the norm of queries or keys, on rows whose cotangents are in registers.

Rows are heads of tokens, D numbers each: y = s n with n = r x, r = (mean(x²) + eps)^(-1/2), and
y' = s n' with n' = r x' + r' x, r' = -r³ mean(x x'). All arithmetic is in float32.
"""

import triton
import triton.language as tl

from kernels.tiles import load_own, load_tile, store_tile


@triton.jit
def norm_backward(
    x: tl.tensor, tx: tl.tensor, dy: tl.tensor, dty: tl.tensor, s: tl.tensor, inside: tl.tensor,
    eps: tl.tensor, D: tl.constexpr, DUAL: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """Gradients of x, x' (a placeholder unless DUAL) and, row by row, of the scale.

    x, x' and the cotangents dy, dy' are (rows, columns), zeros from column D; s is (1, columns).
    Where a row is not `inside`, all is zero.
    """
    r = tl.where(inside, tl.rsqrt(tl.sum(x * x, 1) / D + eps), 0.0)[:, None]
    cubed = r * r * r
    by_r = dy * x  # by r in all of it, but for s and what r' has of it
    if DUAL:
        mean = (tl.sum(x * tx, 1) / D)[:, None]
        by_r += dty * tx
        by_tr = dty * x  # by r' = -r³ mean(x x')
        ds = r * by_r - cubed * mean * by_tr
        dtr = tl.sum(s * by_tr, 1)[:, None]
        dr = tl.sum(s * by_r, 1)[:, None] - 3.0 * r * r * mean * dtr
        dx = s * (r * dy - cubed * mean * dty) - cubed / D * (dr * x + dtr * tx)
        dtx = s * r * dty - cubed / D * dtr * x
    else:
        ds = r * by_r
        dx = s * r * dy - cubed / D * tl.sum(s * by_r, 1)[:, None] * x
        dtx = dx
    return dx, dtx, ds


@triton.jit
def rows_inside(tile: tl.tensor, row: tl.tensor, n: tl.tensor, ROWS: tl.constexpr) -> tl.tensor:
    """A tile of rows [row, row + ROWS), zeros from row n: keys past the last have gradients too."""
    return tl.where(tl.arange(0, ROWS)[:, None] < n - row, tile, 0.0)


@triton.jit
def store_sum(
    target: tl.tensor, tile: tl.tensor, b: tl.tensor, h: tl.tensor, heads: tl.tensor,
    row: tl.tensor, n: tl.tensor,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    """Store the sum of rows [row, row + ROWS) at their part and head: (parts, heads, D)."""
    part = b * tl.cdiv(n, ROWS) + row // ROWS
    columns = tl.arange(0, COLUMNS)
    place = (part.to(tl.int64) * heads + h) * D + columns
    tl.store(target + place, tl.sum(tile, 0), mask=columns < D)


@triton.jit
def store_through_norm(
    norm: tl.tuple, targets: tl.tuple, where: tl.tuple, dy: tl.tensor, dty: tl.tensor,
    b: tl.tensor, h: tl.tensor, H: tl.tensor, row: tl.tensor, n: tl.tensor,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, EPS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Store the gradients of x and x' by the cotangents (ROWS, COLUMNS) of their norm and its.

    Args:
        norm: x, x' (may be None), the scale (D,), where parts of its gradient (parts, H, D) go,
            and where sums of x's gradient (parts, 3, H, D) go. A part is ROWS tokens.
        targets: where the gradients of x and x' go.
        where: elements before the head and from row to row, of x, x' and the targets alike.
    """
    x_src, tx_src, scale_src, of_scale, of_bias = norm
    dx_dst, dtx_dst = targets
    offset, stride = where
    DUAL: tl.constexpr = tx_src is not None
    x = load_tile((x_src, offset, stride), b, h, row, n, D, ROWS, COLUMNS, True, False)
    tx = load_own((tx_src, offset, stride), x, b, h, row, n, D, ROWS, COLUMNS, False)
    columns = tl.arange(0, COLUMNS)
    s = tl.load(scale_src + columns, mask=columns < D, other=0.0).to(tl.float32)[None, :]
    inside = tl.arange(0, ROWS) < n - row
    dx, dtx, ds = norm_backward(
        x.to(tl.float32), tx.to(tl.float32), dy, dty, s, inside, EPS, D, DUAL
    )  # fmt: skip
    store_tile((dx_dst, offset, stride), row, n, dx, D, ROWS, COLUMNS, PRECISION)
    if DUAL:
        store_tile((dtx_dst, offset, stride), row, n, dtx, D, ROWS, COLUMNS, PRECISION)
    store_sum(of_scale, ds, b, h, H, row, n, D, ROWS, COLUMNS)
    store_sum(of_bias, dx, b, h, 3 * H, row, n, D, ROWS, COLUMNS)
