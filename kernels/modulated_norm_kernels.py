"""Kernels of the modulated norm of tokens with its tangent, and of the backward of both.

A program takes some tokens of one image, a row of D numbers at a time, so that whatever is summed
over a row or over tokens stays in registers. All arithmetic is in float32.

    u = x + hold e + gate a               n = r u         r = (mean(u²) + eps)^(-1/2)
    y = n (1 + scale) + shift
    u' = x' + hold' e + hold e' + gate' a + gate a'       n' = r u' + r' u
    y' = n' (1 + scale) + n scale' + shift'               r' = -r³ mean(u u')

Sources may be None: tangents, all of them; the branch a with its tangent, then there is no gate;
the earlier branch e with its gate `hold` and their tangents, which get no gradient here; cotangents
of u and u'. Targets may be: u and u' if nobody adds up. Vectors of an image lie one after the
other: gate, shift, scale.
"""

import triton
import triton.language as tl


@triton.jit
def _row(
    source: tl.tensor, row: tl.tensor, D: tl.constexpr, BLOCK_D: tl.constexpr
) -> tl.tensor:  # fmt: skip
    """Row number `row` of a contiguous (rows, D) in float32; zeros past D."""
    columns = tl.arange(0, BLOCK_D)
    found = tl.load(source + tl.cast(row, tl.int64) * D + columns, mask=columns < D, other=0.0)
    return found.to(tl.float32)


@triton.jit
def _write(
    target: tl.tensor, row: tl.tensor, value: tl.tensor, D: tl.constexpr, BLOCK_D: tl.constexpr
) -> None:
    columns = tl.arange(0, BLOCK_D)
    pointers = target + tl.cast(row, tl.int64) * D + columns
    tl.store(pointers, value.to(target.dtype.element_ty), mask=columns < D)


@triton.jit
def _vectors(
    source: tl.tensor, image: tl.tensor, stride: tl.tensor,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BRANCH: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """Gate, shift and scale of an image; without a branch the first is no gate, and not used."""
    SHIFT: tl.constexpr = 1 if BRANCH else 0
    own = source + image * stride
    gate = _row(own, 0, D, BLOCK_D)
    return gate, _row(own, SHIFT, D, BLOCK_D), _row(own, SHIFT + 1, D, BLOCK_D)


@triton.jit
def _of_image(
    vectors: tl.tensor, tvectors: tl.tensor, hold: tl.tensor, thold: tl.tensor, image: tl.tensor,
    strides: tl.tuple, D: tl.constexpr, BLOCK_D: tl.constexpr, BRANCH: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """Its vectors, their tangents, the gate of its earlier branch, and that one's tangent.

    What is not there is something else, and not used. Strides are in the order of the sources.
    """
    stride, tstride, hold_stride, thold_stride = strides
    own = _vectors(vectors, image, stride, D, BLOCK_D, BRANCH)
    town = own
    held, theld = own[0], own[0]
    if tvectors is not None:
        town = _vectors(tvectors, image, tstride, D, BLOCK_D, BRANCH)
    if hold is not None:
        held = _row(hold + image * hold_stride, 0, D, BLOCK_D)
    if thold is not None:
        theld = _row(thold + image * thold_stride, 0, D, BLOCK_D)
    return own, town, held, theld


@triton.jit
def _summed(
    x: tl.tensor, tx: tl.tensor, a: tl.tensor, ta: tl.tensor, e: tl.tensor, te: tl.tensor,
    row: tl.tensor, gate: tl.tensor, tgate: tl.tensor, held: tl.tensor, theld: tl.tensor,
    D: tl.constexpr, BLOCK_D: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """u, u', a and a' of a row; what is not there is something else, and not used."""
    u = _row(x, row, D, BLOCK_D)
    tu = _row(tx, row, D, BLOCK_D) if tx is not None else u
    if e is not None:
        early = _row(e, row, D, BLOCK_D)
        u += held * early
        if tx is not None:
            tu += theld * early + held * _row(te, row, D, BLOCK_D)
    branch = u
    tbranch = u
    if a is not None:
        branch = _row(a, row, D, BLOCK_D)
        u += gate * branch
        if tx is not None:
            tbranch = _row(ta, row, D, BLOCK_D)
            tu += tgate * branch + gate * tbranch
    return u, tu, branch, tbranch


@triton.jit
def _normalised(
    u: tl.tensor, tu: tl.tensor, eps: tl.tensor, D: tl.constexpr, DUAL: tl.constexpr
) -> tl.tuple:
    """r and mean(u u'), the latter 0 without a tangent."""
    r = tl.rsqrt(tl.sum(u * u, 0) / D + eps)
    mean = tl.sum(u * tu, 0) / D if DUAL else r * 0.0
    return r, mean


@triton.jit
def modulated_norm_forward_kernel(
    x: tl.tensor, tx: tl.tensor, a: tl.tensor, ta: tl.tensor, e: tl.tensor, te: tl.tensor,
    hold: tl.tensor, thold: tl.tensor, vectors: tl.tensor, tvectors: tl.tensor,
    u_out: tl.tensor, tu_out: tl.tensor, y_out: tl.tensor, ty_out: tl.tensor,
    hold_stride: tl.tensor, thold_stride: tl.tensor, stride: tl.tensor, tstride: tl.tensor,
    N: tl.tensor, eps: tl.tensor,
    D: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
) -> None:  # fmt: skip
    """u, u', y and y' of ROWS tokens of an image; strides lead from one image's vectors on."""
    DUAL: tl.constexpr = tx is not None
    BRANCH: tl.constexpr = a is not None
    first = tl.program_id(0) * ROWS
    image = first // N
    own, town, held, theld = _of_image(
        vectors, tvectors, hold, thold, image, (stride, tstride, hold_stride, thold_stride),
        D, BLOCK_D, BRANCH,
    )  # fmt: skip
    gate, shift, scale = own
    tgate, tshift, tscale = town
    factor = 1.0 + scale
    for row in tl.range(first, first + ROWS, num_stages=STAGES):
        u, tu, _, _ = _summed(x, tx, a, ta, e, te, row, gate, tgate, held, theld, D, BLOCK_D)
        if u_out is not None:
            _write(u_out, row, u, D, BLOCK_D)
        if tu_out is not None:
            _write(tu_out, row, tu, D, BLOCK_D)
        r, mean = _normalised(u, tu, eps, D, DUAL)
        n = r * u
        _write(y_out, row, n * factor + shift, D, BLOCK_D)
        if DUAL:
            tn = r * (tu - r * r * mean * u)
            _write(ty_out, row, tn * factor + n * tscale + tshift, D, BLOCK_D)


@triton.jit
def modulated_norm_backward_kernel(
    x: tl.tensor, tx: tl.tensor, a: tl.tensor, ta: tl.tensor, e: tl.tensor, te: tl.tensor,
    hold: tl.tensor, thold: tl.tensor, vectors: tl.tensor, tvectors: tl.tensor,
    du: tl.tensor, dtu: tl.tensor, dy: tl.tensor, dty: tl.tensor,
    dx_out: tl.tensor, dtx_out: tl.tensor, da_out: tl.tensor, dta_out: tl.tensor,
    sums: tl.tensor, tsums: tl.tensor, of_bias: tl.tensor, y_out: tl.tensor, ty_out: tl.tensor,
    hold_stride: tl.tensor, thold_stride: tl.tensor, stride: tl.tensor, tstride: tl.tensor,
    N: tl.tensor, eps: tl.tensor,
    D: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
) -> None:  # fmt: skip
    """Gradients of ROWS tokens of an image from the cotangents du, du', dy, dy' of u, u', y, y'.

    `sums` and `tsums` (programs, K, D) take their parts of the gradients of vectors and tangents,
    `of_bias` (programs, D) the sum of da, which a layer's bias needs.
    Where there are `y_out` and `ty_out`, they take y and y' once more.
    """
    DUAL: tl.constexpr = tx is not None
    BRANCH: tl.constexpr = a is not None
    SHIFT: tl.constexpr = 1 if BRANCH else 0
    first = tl.program_id(0) * ROWS
    image = first // N
    own, town, held, theld = _of_image(
        vectors, tvectors, hold, thold, image, (stride, tstride, hold_stride, thold_stride),
        D, BLOCK_D, BRANCH,
    )  # fmt: skip
    gate, shift, scale = own
    tgate, tshift, tscale = town
    factor = 1.0 + scale
    dshift = tl.zeros((BLOCK_D,), tl.float32)
    dscale = tl.zeros((BLOCK_D,), tl.float32)
    dgate = tl.zeros((BLOCK_D,), tl.float32)
    bias = tl.zeros((BLOCK_D,), tl.float32)
    dtshift = tl.zeros((BLOCK_D,), tl.float32)
    dtscale = tl.zeros((BLOCK_D,), tl.float32)
    dtgate = tl.zeros((BLOCK_D,), tl.float32)
    for row in tl.range(first, first + ROWS, num_stages=STAGES):
        u, tu, branch, tbranch = _summed(
            x, tx, a, ta, e, te, row, gate, tgate, held, theld, D, BLOCK_D
        )
        r, mean = _normalised(u, tu, eps, D, DUAL)
        cubed = r * r * r
        n = r * u
        if y_out is not None:
            _write(y_out, row, n * factor + shift, D, BLOCK_D)
        v = _row(dy, row, D, BLOCK_D)
        dshift += v
        dscale += v * n
        dn = v * factor
        if DUAL:
            tn = r * (tu - r * r * mean * u)
            if ty_out is not None:
                _write(ty_out, row, tn * factor + n * tscale + tshift, D, BLOCK_D)
            tv = _row(dty, row, D, BLOCK_D)
            dtshift += tv
            dtscale += tv * n
            dscale += tv * tn
            dn += tv * tscale
            dtn = tv * factor
            # By r' = -r³ mean(u u'), and by r in all of it.
            dtr = tl.sum(dtn * u, 0)
            dr = tl.sum(dn * u + dtn * tu, 0) - 3.0 * r * r * mean * dtr
            down = r * dn - cubed * mean * dtn - cubed / D * (dr * u + dtr * tu)
            tdown = r * dtn - cubed / D * dtr * u
            if dtu is not None:
                tdown += _row(dtu, row, D, BLOCK_D)
        else:
            down = r * dn - cubed / D * tl.sum(dn * u, 0) * u
        if du is not None:
            down += _row(du, row, D, BLOCK_D)
        _write(dx_out, row, down, D, BLOCK_D)
        if DUAL:
            _write(dtx_out, row, tdown, D, BLOCK_D)
        if BRANCH:
            dgate += down * branch
            dbranch = down * gate
            if DUAL:
                dgate += tdown * tbranch
                dtgate += tdown * branch
                dbranch += tdown * tgate
                _write(dta_out, row, tdown * gate, D, BLOCK_D)
            _write(da_out, row, dbranch, D, BLOCK_D)
            bias += dbranch
    slot = tl.program_id(0) * (SHIFT + 2)
    _write(sums, slot + SHIFT, dshift, D, BLOCK_D)
    _write(sums, slot + SHIFT + 1, dscale, D, BLOCK_D)
    if BRANCH:
        _write(sums, slot, dgate, D, BLOCK_D)
        _write(of_bias, tl.program_id(0), bias, D, BLOCK_D)
    if DUAL:
        _write(tsums, slot + SHIFT, dtshift, D, BLOCK_D)
        _write(tsums, slot + SHIFT + 1, dtscale, D, BLOCK_D)
        if BRANCH:
            _write(tsums, slot, dtgate, D, BLOCK_D)
