"""The forward kernel: O = P v and O' = (P∘R) v + P v' in one pass over the keys.

Online softmax with tangents. The running mean mu of S' under P is subtracted from S' before the
product with v, not after: for sharp softmaxes both terms of P∘S' - mu P are far larger than
their difference, which would be lost to the rounding of P∘S' to 16 bits.
"""

import triton
import triton.language as tl

from kernels.tiles import (
    exponential,
    head_offset,
    load_own,
    load_tile,
    logits,
    narrow,
    product,
    store_tile,
    visible,
    with_flag,
)


@triton.jit
def _visit_keys(
    sums: tl.tuple, q: tl.tensor, tq: tl.tensor, heads: tl.tuple, b: tl.tensor, h: tl.tensor,
    start_m: tl.tensor, low: tl.tensor, high: tl.tensor, Nk: tl.tensor,
    scale: tl.tensor, exponent_scale: tl.tensor,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr,
    HAS_TQ: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """Fold keys [low, high) into the running sums. MASKED: blocks past Nk or on the diagonal.

    The sums: acc = P v and tacc (the tangent's), m and z (maximum and sum of P), total and mu
    (sum of P∘S' without the scale, and mean of S'), P being relative to m.
    """
    acc, tacc, m, z, total, mu = sums
    k_head, v_head, tk_head, tv_head = heads
    HAS_TK: tl.constexpr = tk_head[0] is not None
    HAS_TV: tl.constexpr = tv_head[0] is not None
    for start_n in tl.range(low, high, BLOCK_N):
        k = load_tile(k_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, MASKED, TMA)
        s = logits(q, k.T, PRECISION)  # (M, N)
        if HAS_TQ:
            ts = product(tq, k.T, None, PRECISION)
        if HAS_TK:
            tk = load_tile(tk_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, MASKED, TMA)
            ts = product(q, tk.T, ts if HAS_TQ else None, PRECISION)
        v = load_tile(v_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, MASKED, TMA)
        if MASKED:
            keep = visible(start_m, start_n, Nk, BLOCK_M, BLOCK_N, CAUSAL)
            s = tl.where(keep, s, float("-inf"))

        m_new = tl.maximum(m, tl.max(s, 1) * exponent_scale)
        p = exponential(s, exponent_scale, m_new[:, None])
        alpha = tl.exp2((m - m_new).to(tl.float32))
        z = z * alpha + tl.sum(p, 1)
        if HAS_TQ or HAS_TK:
            total = total * alpha + tl.sum(p * ts, 1)
            mu_new = total * scale / z
            pr = p * (ts * scale - mu_new[:, None])
            # Sums so far were centred on the old mean: move them to the new one.
            tacc = tacc * alpha[:, None] + acc * (alpha * (mu - mu_new))[:, None]
            mu = mu_new
        elif HAS_TV:
            tacc = tacc * alpha[:, None]
        acc = acc * alpha[:, None]
        m = m_new

        p16 = narrow(p, v.dtype, PRECISION)
        acc = product(p16, v, acc, PRECISION)  # (M, D)
        if HAS_TQ or HAS_TK:
            tacc = product(narrow(pr, v.dtype, PRECISION), v, tacc, PRECISION)
        if HAS_TV:
            tv = load_tile(tv_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, MASKED, TMA)
            tacc = product(p16, tv, tacc, PRECISION)
    return acc, tacc, m, z, total, mu


@triton.jit
def forward_kernel(
    q_src: tl.tensor, k_src: tl.tensor, v_src: tl.tensor,
    tq_src: tl.tensor, tk_src: tl.tensor, tv_src: tl.tensor,
    o_dst: tl.tensor, to_dst: tl.tensor, lse_dst: tl.tensor, mu_dst: tl.tensor,
    stride_qb: tl.tensor, stride_qh: tl.tensor, stride_qn: tl.tensor,
    stride_kb: tl.tensor, stride_kh: tl.tensor, stride_kn: tl.tensor,
    stride_vb: tl.tensor, stride_vh: tl.tensor, stride_vn: tl.tensor,
    stride_tqb: tl.tensor, stride_tqh: tl.tensor, stride_tqn: tl.tensor,
    stride_tkb: tl.tensor, stride_tkh: tl.tensor, stride_tkn: tl.tensor,
    stride_tvb: tl.tensor, stride_tvh: tl.tensor, stride_tvn: tl.tensor,
    stride_ob: tl.tensor, stride_oh: tl.tensor, stride_on: tl.tensor,
    H: tl.tensor, Nq: tl.tensor, Nk: tl.tensor, scale: tl.tensor, exponent_scale: tl.tensor,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr,
) -> None:  # fmt: skip
    """One program: BLOCK_M queries of one head. Grid: (B * H * ceil(Nq / BLOCK_M),).

    Writes o and to (B, H, Nq, D), the base-2 log-sum-exp of scale * q k^T and mu (B, H, Nq). A
    flag in mu says where the query pass needs exact row sums: some P of the row exceeds 1/2, or
    there are too few keys for the rounding of O to average out.
    """
    HAS_TQ: tl.constexpr = tq_src is not None
    blocks = tl.cdiv(Nq, BLOCK_M)
    bh = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    if CAUSAL:
        block = blocks - 1 - block  # the longest rows first
    b = bh // H
    h = bh % H
    start_m = block * BLOCK_M

    q_head = (q_src, head_offset(b, h, stride_qb, stride_qh), stride_qn)
    tq_head = (tq_src, head_offset(b, h, stride_tqb, stride_tqh), stride_tqn)
    q = load_tile(q_head, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, True, TMA)
    tq = load_own(tq_head, q, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, TMA)
    heads = (
        (k_src, head_offset(b, h, stride_kb, stride_kh), stride_kn),
        (v_src, head_offset(b, h, stride_vb, stride_vh), stride_vn),
        (tk_src, head_offset(b, h, stride_tkb, stride_tkh), stride_tkn),
        (tv_src, head_offset(b, h, stride_tvb, stride_tvh), stride_tvn),
    )
    FINE: tl.constexpr = lse_dst.dtype.element_ty if PRECISION != "tf32" else tl.float32
    zeros = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    none = tl.zeros((BLOCK_M,), tl.float32)
    sums = (zeros, zeros, tl.full((BLOCK_M,), float("-inf"), FINE), none, none, none)

    # Whole unmasked blocks first, then those that reach past Nk or cross the diagonal.
    end = Nk
    unmasked = Nk // BLOCK_N * BLOCK_N
    if CAUSAL:
        end = tl.minimum(Nk, start_m + BLOCK_M)
        unmasked = tl.minimum(unmasked, start_m // BLOCK_N * BLOCK_N)
    sums = _visit_keys(
        sums, q, tq, heads, b, h, start_m, 0, unmasked, Nk, scale, exponent_scale,
        D, BLOCK_M, BLOCK_N, BLOCK_D, CAUSAL, False, PRECISION, TMA, HAS_TQ,
    )  # fmt: skip
    if unmasked < end:
        sums = _visit_keys(
            sums, q, tq, heads, b, h, start_m, unmasked, end, Nk, scale, exponent_scale,
            D, BLOCK_M, BLOCK_N, BLOCK_D, CAUSAL, True, PRECISION, TMA, HAS_TQ,
        )  # fmt: skip

    acc, tacc, m, z, _, mu = sums
    inverse = 1.0 / z
    o_off = head_offset(b, h, stride_ob, stride_oh)
    o_head = (o_dst, o_off, stride_on)
    to_head = (to_dst, o_off, stride_on)
    o = acc * inverse[:, None]
    to = tacc * inverse[:, None]
    store_tile(o_head, start_m, Nq, o, D, BLOCK_M, BLOCK_D, PRECISION)
    store_tile(to_head, start_m, Nq, to, D, BLOCK_M, BLOCK_D, PRECISION)
    rows = start_m + tl.arange(0, BLOCK_M)
    row_off = bh.to(tl.int64) * Nq
    tl.store(lse_dst + row_off + rows, m + tl.log2(z), mask=rows < Nq)
    sharp = (inverse > 0.5) | (Nk <= 32)  # the largest P of a row is 1 / z
    tl.store(mu_dst + row_off + rows, with_flag(mu, sharp), mask=rows < Nq)
