"""The backward's query pass: dq and dq', and on the way D1 and D2 for the key pass.

    D1 = rowsum(dO'∘O)    D2 = rowsum(dO∘O) + rowsum(dO'∘O')
    G = dO' v^T - D1      H = dO v^T + dO' v'^T
    dS' = P∘G             dS = P∘(H + G∘R - D2)
    dq = a (dS k + dS' k')    dq' = a dS' k

Where a softmax is sharp, G and H + G∘R almost cancel against D1 and D2, and the rounding of O and
O' to 16 bits would show: 9e-3 of dq' for logits of size 900, against 2.5e-3; so it does where
there are only a few keys. Blocks with such a row (the forward flags it in mu) take
D1 = rowsum(P∘dO' v^T) and D2 = rowsum(P∘(H + dO' v^T∘R)) from a pass of their own.
"""

import triton
import triton.language as tl

from kernels.head_norm_epilogue import store_through_norm
from kernels.tiles import (
    any_flag,
    exponential,
    head_offset,
    load_own,
    load_statistic,
    load_tile,
    logits,
    narrow,
    product,
    store_tile,
    visible,
)


@triton.jit
def _visit_keys(
    sums: tl.tuple, tiles: tl.tuple, statistics: tl.tuple, heads: tl.tuple,
    b: tl.tensor, h: tl.tensor, start_m: tl.tensor,
    low: tl.tensor, high: tl.tensor, Nk: tl.tensor, scale: tl.tensor, exponent_scale: tl.tensor,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr,
    HAS_TQ: tl.constexpr, HAS_DO: tl.constexpr, HAS_DTO: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """Add the keys [low, high) to dq and dq'. MASKED: blocks past Nk or on the diagonal."""
    dq, dtq = sums
    q, tq, do, dto = tiles
    lse, mu, d1, d2 = statistics
    k_head, v_head, tk_head, tv_head = heads
    HAS_TK: tl.constexpr = tk_head[0] is not None
    for start_n in tl.range(low, high, BLOCK_N):
        k = load_tile(k_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, MASKED, TMA)
        v = load_tile(v_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, MASKED, TMA)
        s = logits(q, k.T, PRECISION)  # (M, N)
        if HAS_TQ:
            ts = product(tq, k.T, None, PRECISION)
        if HAS_TK:
            tk = load_tile(tk_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, MASKED, TMA)
            ts = product(q, tk.T, ts if HAS_TQ else None, PRECISION)
        if MASKED:
            keep = visible(start_m, start_n, Nk, BLOCK_M, BLOCK_N, CAUSAL)
            s = tl.where(keep, s, float("-inf"))
        p = exponential(s, exponent_scale, lse[:, None])

        # H + G∘R - D2, with the products of H accumulated onto the rest.
        if HAS_DTO:
            g = product(dto, v.T, None, PRECISION) - d1[:, None]
            dts = narrow(p * g, k.dtype, PRECISION)
            ds = tl.zeros_like(g) - d2[:, None]
            if HAS_TQ or HAS_TK:
                ds += g * (ts * scale - mu[:, None])
            if HAS_DO:
                ds = product(do, v.T, ds, PRECISION)
            if tv_head[0] is not None:
                tv = load_tile(tv_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, MASKED, TMA)
                ds = product(dto, tv.T, ds, PRECISION)
        else:
            ds = product(do, v.T, None, PRECISION) - d2[:, None]
        ds = narrow(p * ds, k.dtype, PRECISION)

        dq = product(ds, k, dq, PRECISION)  # (M, D)
        if HAS_DTO:
            if HAS_TK:
                dq = product(dts, tk, dq, PRECISION)
            if HAS_TQ:
                dtq = product(dts, k, dtq, PRECISION)
    return dq, dtq


@triton.jit
def _sum_rows(
    tiles: tl.tuple, lse: tl.tensor, mu: tl.tensor, heads: tl.tuple,
    b: tl.tensor, h: tl.tensor, start_m: tl.tensor, end: tl.tensor,
    Nk: tl.tensor, scale: tl.tensor, exponent_scale: tl.tensor,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr,
    HAS_TQ: tl.constexpr, HAS_DO: tl.constexpr, HAS_DTO: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """D1 and D2 from the keys [0, end) instead of from the rounded O and O'."""
    q, tq, do, dto = tiles
    k_head, v_head, tk_head, tv_head = heads
    d1 = tl.zeros((BLOCK_M,), tl.float32)
    d2 = tl.zeros((BLOCK_M,), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    for start_n in tl.range(0, end, BLOCK_N, num_stages=1):
        k = load_tile(k_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, True, TMA)
        v = load_tile(v_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, True, TMA)
        keep = visible(start_m, start_n, Nk, BLOCK_M, BLOCK_N, CAUSAL)
        s = tl.where(keep, logits(q, k.T, PRECISION), float("-inf"))
        p = exponential(s, exponent_scale, lse[:, None])
        total += tl.sum(p, 1)
        ds = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        if HAS_DTO:
            g = product(dto, v.T, None, PRECISION)
            d1 += tl.sum(p * g, 1)
            r = tl.zeros((BLOCK_M, BLOCK_N), tl.float32) - mu[:, None]
            if HAS_TQ:
                r += product(tq, k.T, None, PRECISION) * scale
            if tk_head[0] is not None:
                tk = load_tile(tk_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, True, TMA)
                r += product(q, tk.T, None, PRECISION) * scale
            ds += g * r
            if tv_head[0] is not None:
                tv = load_tile(tv_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, True, TMA)
                ds = product(dto, tv.T, ds, PRECISION)
        if HAS_DO:
            ds = product(do, v.T, ds, PRECISION)
        d2 += tl.sum(p * ds, 1)
    total = tl.maximum(total, 1e-30)  # rows past Nq have none
    return d1 / total, d2 / total


@triton.jit
def query_kernel(
    q_src: tl.tensor, k_src: tl.tensor, v_src: tl.tensor,
    tq_src: tl.tensor, tk_src: tl.tensor, tv_src: tl.tensor,
    do_src: tl.tensor, dto_src: tl.tensor, o_src: tl.tensor, to_src: tl.tensor,
    lse_src: tl.tensor, mu_src: tl.tensor,
    d1_dst: tl.tensor, d2_dst: tl.tensor,
    dq_dst: tl.tensor, dtq_dst: tl.tensor,
    x_src: tl.tensor, tx_src: tl.tensor, s_src: tl.tensor,
    of_scale_dst: tl.tensor, of_bias_dst: tl.tensor,
    stride_qb: tl.tensor, stride_qh: tl.tensor, stride_qn: tl.tensor,
    stride_kb: tl.tensor, stride_kh: tl.tensor, stride_kn: tl.tensor,
    stride_vb: tl.tensor, stride_vh: tl.tensor, stride_vn: tl.tensor,
    stride_tqb: tl.tensor, stride_tqh: tl.tensor, stride_tqn: tl.tensor,
    stride_tkb: tl.tensor, stride_tkh: tl.tensor, stride_tkn: tl.tensor,
    stride_tvb: tl.tensor, stride_tvh: tl.tensor, stride_tvn: tl.tensor,
    stride_dob: tl.tensor, stride_doh: tl.tensor, stride_don: tl.tensor,
    stride_dtob: tl.tensor, stride_dtoh: tl.tensor, stride_dton: tl.tensor,
    stride_ob: tl.tensor, stride_oh: tl.tensor, stride_on: tl.tensor,
    stride_dqb: tl.tensor, stride_dqh: tl.tensor, stride_dqn: tl.tensor,
    H: tl.tensor, Nq: tl.tensor, Nk: tl.tensor, scale: tl.tensor, exponent_scale: tl.tensor,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr, EPS: tl.constexpr,
) -> None:  # fmt: skip
    """One program: BLOCK_M queries of one head. Grid: (B * H * ceil(Nq / BLOCK_M),).

    Where there is x, q is its norm: dq and dq' are then the gradients of x and x', EPS the norm's.
    """
    HAS_TQ: tl.constexpr = tq_src is not None
    HAS_DO: tl.constexpr = do_src is not None
    HAS_DTO: tl.constexpr = dto_src is not None
    blocks = tl.cdiv(Nq, BLOCK_M)
    bh = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    if CAUSAL:
        block = blocks - 1 - block  # the longest rows first
    b = bh // H
    h = bh % H
    start_m = block * BLOCK_M
    row_off = bh.to(tl.int64) * Nq

    o_off = head_offset(b, h, stride_ob, stride_oh)
    o_head = (o_src, o_off, stride_on)
    to_head = (to_src, o_off, stride_on)
    do_head = (do_src, head_offset(b, h, stride_dob, stride_doh), stride_don)
    dto_head = (dto_src, head_offset(b, h, stride_dtob, stride_dtoh), stride_dton)
    o = load_tile(o_head, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, True, False)
    do = load_own(do_head, o, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, TMA)
    dto = load_own(dto_head, o, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, TMA)
    d1 = tl.zeros((BLOCK_M,), tl.float32)
    d2 = tl.zeros((BLOCK_M,), tl.float32)
    if HAS_DO:
        d2 += tl.sum(do.to(tl.float32) * o.to(tl.float32), 1)
    if HAS_DTO:
        d1 += tl.sum(dto.to(tl.float32) * o.to(tl.float32), 1)
        to = load_tile(to_head, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, True, False)
        d2 += tl.sum(dto.to(tl.float32) * to.to(tl.float32), 1)
    # An infinite log-sum-exp makes P = 0 in rows past Nq.
    lse = load_statistic(lse_src + row_off, start_m, Nq, float("inf"), BLOCK_M, True)
    mu = load_statistic(mu_src + row_off, start_m, Nq, 0.0, BLOCK_M, True)

    q_head = (q_src, head_offset(b, h, stride_qb, stride_qh), stride_qn)
    tq_head = (tq_src, head_offset(b, h, stride_tqb, stride_tqh), stride_tqn)
    q = load_tile(q_head, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, True, TMA)
    tq = load_own(tq_head, q, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, TMA)
    tiles = (q, tq, do, dto)
    heads = (
        (k_src, head_offset(b, h, stride_kb, stride_kh), stride_kn),
        (v_src, head_offset(b, h, stride_vb, stride_vh), stride_vn),
        (tk_src, head_offset(b, h, stride_tkb, stride_tkh), stride_tkn),
        (tv_src, head_offset(b, h, stride_tvb, stride_tvh), stride_tvn),
    )
    end = Nk
    unmasked = Nk // BLOCK_N * BLOCK_N
    if CAUSAL:
        end = tl.minimum(Nk, start_m + BLOCK_M)
        unmasked = tl.minimum(unmasked, start_m // BLOCK_N * BLOCK_N)

    if o.dtype != tl.float32 and any_flag(mu):
        d1, d2 = _sum_rows(
            tiles, lse, mu, heads, b, h, start_m, end, Nk, scale, exponent_scale,
            D, BLOCK_M, BLOCK_N, BLOCK_D, CAUSAL, PRECISION, TMA, HAS_TQ, HAS_DO, HAS_DTO,
        )  # fmt: skip
    rows = row_off + start_m + tl.arange(0, BLOCK_M)
    inside = start_m + tl.arange(0, BLOCK_M) < Nq
    tl.store(d1_dst + rows, d1, mask=inside)
    tl.store(d2_dst + rows, d2, mask=inside)
    statistics = (lse, mu, d1, d2)
    sums = (tl.zeros((BLOCK_M, BLOCK_D), tl.float32), tl.zeros((BLOCK_M, BLOCK_D), tl.float32))

    sums = _visit_keys(
        sums, tiles, statistics, heads, b, h, start_m, 0, unmasked, Nk, scale, exponent_scale,
        D, BLOCK_M, BLOCK_N, BLOCK_D, CAUSAL, False, PRECISION, TMA, HAS_TQ, HAS_DO, HAS_DTO,
    )  # fmt: skip
    if unmasked < end:
        sums = _visit_keys(
            sums, tiles, statistics, heads, b, h, start_m, unmasked, end, Nk, scale,
            exponent_scale, D, BLOCK_M, BLOCK_N, BLOCK_D, CAUSAL, True, PRECISION, TMA,
            HAS_TQ, HAS_DO, HAS_DTO,
        )  # fmt: skip

    dq, dtq = sums
    dq_off = head_offset(b, h, stride_dqb, stride_dqh)
    if x_src is not None:
        store_through_norm(
            (x_src, tx_src, s_src, of_scale_dst, of_bias_dst), (dq_dst, dtq_dst),
            (dq_off, stride_dqn), dq * scale, dtq * scale, b, h, H, start_m, Nq,
            D, BLOCK_M, BLOCK_D, EPS, PRECISION,
        )  # fmt: skip
    else:
        dq_head = (dq_dst, dq_off, stride_dqn)
        store_tile(dq_head, start_m, Nq, dq * scale, D, BLOCK_M, BLOCK_D, PRECISION)
        if HAS_TQ:
            dtq_head = (dtq_dst, dq_off, stride_dqn)
            store_tile(dtq_head, start_m, Nq, dtq * scale, D, BLOCK_M, BLOCK_D, PRECISION)
