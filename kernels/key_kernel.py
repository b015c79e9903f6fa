"""The backward's key pass: dk, dk' and dv, dv', together or apart (WITH_K, WITH_V).

    dv = P^T dO + (P∘R)^T dO'     dv' = P^T dO'
    dk = a (dS^T q + dS'^T q')    dk' = a dS'^T q

Everything is held transposed, (N, M): S^T = k q^T leaves P^T and dS^T in registers in the layout
which the next product takes as its left operand. Of head size 128 dk and dk' may be Gluon's on
Hopper (hopper.py).
"""

import triton
import triton.language as tl

from kernels.head_norm_epilogue import rows_inside, store_sum, store_through_norm
from kernels.tiles import (
    exponential,
    head_offset,
    load_own,
    load_statistic,
    load_tile,
    logits,
    narrow,
    product,
    store_tile,
)


@triton.jit
def _visit_queries(
    sums: tl.tuple, tiles: tl.tuple, heads: tl.tuple, statistics: tl.tuple,
    b: tl.tensor, h: tl.tensor, start_n: tl.tensor,
    low: tl.tensor, high: tl.tensor, Nq: tl.tensor, scale: tl.tensor, exponent_scale: tl.tensor,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    DIAGONAL: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr,
    WITH_K: tl.constexpr, WITH_V: tl.constexpr, HAS_TK: tl.constexpr, HAS_TV: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """Add the queries [low, high). MASKED: blocks past Nq. DIAGONAL: the causal mask cuts them."""
    dk, dtk, dv, dtv = sums
    k, v, tk, tv = tiles
    q_head, tq_head, do_head, dto_head = heads
    lse_src, mu_src, d1_src, d2_src = statistics
    HAS_TQ: tl.constexpr = tq_head[0] is not None
    HAS_DO: tl.constexpr = do_head[0] is not None
    HAS_DTO: tl.constexpr = dto_head[0] is not None
    HAS_TS: tl.constexpr = HAS_TK or HAS_TQ
    # Measured on an H200: 3 % less time with two sums to keep in registers, 6 % more with four.
    EARLY: tl.constexpr = WITH_K and not WITH_V
    for start_m in tl.range(low, high, BLOCK_M):
        q = load_tile(q_head, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, MASKED, TMA)
        if EARLY:
            # The pipeliner leaves these two out; loaded here the products hide their latency.
            d2 = load_statistic(d2_src, start_m, Nq, 0.0, BLOCK_M, MASKED)
            if HAS_TS:
                mu = load_statistic(mu_src, start_m, Nq, 0.0, BLOCK_M, MASKED)
        st = logits(k, q.T, PRECISION)  # (N, M)
        if HAS_TK:
            tst = product(tk, q.T, None, PRECISION)
        if HAS_TQ:
            tq = load_tile(tq_head, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, MASKED, TMA)
            tst = product(k, tq.T, tst if HAS_TK else None, PRECISION)
        if HAS_DO:
            do = load_tile(do_head, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, MASKED, TMA)
        if HAS_DTO:
            dto = load_tile(dto_head, b, h, start_m, Nq, D, BLOCK_M, BLOCK_D, MASKED, TMA)
        # An infinite log-sum-exp makes P = 0 in rows past Nq.
        lse = load_statistic(lse_src, start_m, Nq, float("inf"), BLOCK_M, MASKED)
        if DIAGONAL:
            rows = start_m + tl.arange(0, BLOCK_M)
            columns = start_n + tl.arange(0, BLOCK_N)
            st = tl.where(rows[None, :] >= columns[:, None], st, float("-inf"))
        pt = exponential(st, exponent_scale, lse[None, :])
        if HAS_TS:
            if not EARLY:
                mu = load_statistic(mu_src, start_m, Nq, 0.0, BLOCK_M, MASKED)
            rt = tst * scale - mu[None, :]
        if WITH_V:
            pt16 = narrow(pt, q.dtype, PRECISION)
            if HAS_DO:
                dv = product(pt16, do, dv, PRECISION)  # (N, D)
            if HAS_DTO:
                if HAS_TS:
                    dv = product(narrow(pt * rt, q.dtype, PRECISION), dto, dv, PRECISION)
                if HAS_TV:
                    dtv = product(pt16, dto, dtv, PRECISION)
        if WITH_K:
            if not EARLY:
                d2 = load_statistic(d2_src, start_m, Nq, 0.0, BLOCK_M, MASKED)
            if HAS_DTO:
                d1 = load_statistic(d1_src, start_m, Nq, 0.0, BLOCK_M, MASKED)
                gt = product(v, dto.T, None, PRECISION) - d1[None, :]
                dtst = narrow(pt * gt, q.dtype, PRECISION)
                dst = tl.zeros_like(gt) - d2[None, :]
                if HAS_TS:
                    dst += gt * rt
                if HAS_DO:
                    dst = product(v, do.T, dst, PRECISION)
                if HAS_TV:
                    dst = product(tv, dto.T, dst, PRECISION)
            else:
                dst = product(v, do.T, None, PRECISION) - d2[None, :]
            dk = product(narrow(pt * dst, q.dtype, PRECISION), q, dk, PRECISION)
            if HAS_DTO:
                if HAS_TQ:
                    dk = product(dtst, tq, dk, PRECISION)
                if HAS_TK:
                    dtk = product(dtst, q, dtk, PRECISION)
    return dk, dtk, dv, dtv


@triton.jit
def key_kernel(
    q_src: tl.tensor, k_src: tl.tensor, v_src: tl.tensor,
    tq_src: tl.tensor, tk_src: tl.tensor, tv_src: tl.tensor,
    do_src: tl.tensor, dto_src: tl.tensor,
    lse_src: tl.tensor, mu_src: tl.tensor, d1_src: tl.tensor, d2_src: tl.tensor,
    dk_dst: tl.tensor, dtk_dst: tl.tensor, dv_dst: tl.tensor, dtv_dst: tl.tensor,
    x_src: tl.tensor, tx_src: tl.tensor, s_src: tl.tensor,
    of_scale_dst: tl.tensor, of_bias_dst: tl.tensor, of_v_bias_dst: tl.tensor,
    stride_qb: tl.tensor, stride_qh: tl.tensor, stride_qn: tl.tensor,
    stride_kb: tl.tensor, stride_kh: tl.tensor, stride_kn: tl.tensor,
    stride_vb: tl.tensor, stride_vh: tl.tensor, stride_vn: tl.tensor,
    stride_tqb: tl.tensor, stride_tqh: tl.tensor, stride_tqn: tl.tensor,
    stride_tkb: tl.tensor, stride_tkh: tl.tensor, stride_tkn: tl.tensor,
    stride_tvb: tl.tensor, stride_tvh: tl.tensor, stride_tvn: tl.tensor,
    stride_dob: tl.tensor, stride_doh: tl.tensor, stride_don: tl.tensor,
    stride_dtob: tl.tensor, stride_dtoh: tl.tensor, stride_dton: tl.tensor,
    stride_dkb: tl.tensor, stride_dkh: tl.tensor, stride_dkn: tl.tensor,
    stride_dvb: tl.tensor, stride_dvh: tl.tensor, stride_dvn: tl.tensor,
    H: tl.tensor, Nq: tl.tensor, Nk: tl.tensor, scale: tl.tensor, exponent_scale: tl.tensor,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr,
    WITH_K: tl.constexpr, WITH_V: tl.constexpr, EPS: tl.constexpr,
) -> None:  # fmt: skip
    """One program: BLOCK_N keys of one head. Grid: (B * H * ceil(Nk / BLOCK_N),).

    Where there is x, k is its norm: dk and dk' are then the gradients of x and x', EPS the norm's.
    """
    HAS_TK: tl.constexpr = tk_src is not None
    HAS_TV: tl.constexpr = tv_src is not None
    blocks = tl.cdiv(Nk, BLOCK_N)
    bh = tl.program_id(0) // blocks
    b = bh // H
    h = bh % H
    start_n = tl.program_id(0) % blocks * BLOCK_N
    row_off = bh.to(tl.int64) * Nq
    k_head = (k_src, head_offset(b, h, stride_kb, stride_kh), stride_kn)
    tk_head = (tk_src, head_offset(b, h, stride_tkb, stride_tkh), stride_tkn)
    k = load_tile(k_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, True, TMA)
    tk = load_own(tk_head, k, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, TMA)
    v = k
    tv = k
    if WITH_K:
        v_head = (v_src, head_offset(b, h, stride_vb, stride_vh), stride_vn)
        tv_head = (tv_src, head_offset(b, h, stride_tvb, stride_tvh), stride_tvn)
        v = load_tile(v_head, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, True, TMA)
        tv = load_own(tv_head, k, b, h, start_n, Nk, D, BLOCK_N, BLOCK_D, TMA)
    tiles = (k, v, tk, tv)
    heads = (
        (q_src, head_offset(b, h, stride_qb, stride_qh), stride_qn),
        (tq_src, head_offset(b, h, stride_tqb, stride_tqh), stride_tqn),
        (do_src, head_offset(b, h, stride_dob, stride_doh), stride_don),
        (dto_src, head_offset(b, h, stride_dtob, stride_dtoh), stride_dton),
    )
    statistics = (lse_src + row_off, mu_src + row_off, d1_src + row_off, d2_src + row_off)
    dk = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    sums = (dk, dk, dk, dk)

    unmasked = Nq // BLOCK_M * BLOCK_M
    low = 0
    if CAUSAL:
        # Queries before start_n do not see these keys; the mask cuts through the next blocks.
        low = tl.minimum(start_n // BLOCK_M * BLOCK_M, unmasked)
        full = tl.minimum(tl.cdiv(start_n + BLOCK_N, BLOCK_M) * BLOCK_M, unmasked)
        sums = _visit_queries(
            sums, tiles, heads, statistics, b, h, start_n, low, full, Nq, scale, exponent_scale,
            D, BLOCK_M, BLOCK_N, BLOCK_D, True, False, PRECISION, TMA,
            WITH_K, WITH_V, HAS_TK, HAS_TV,
        )  # fmt: skip
        low = full
    sums = _visit_queries(
        sums, tiles, heads, statistics, b, h, start_n, low, unmasked, Nq, scale, exponent_scale,
        D, BLOCK_M, BLOCK_N, BLOCK_D, False, False, PRECISION, TMA,
        WITH_K, WITH_V, HAS_TK, HAS_TV,
    )  # fmt: skip
    if unmasked < Nq:
        sums = _visit_queries(
            sums, tiles, heads, statistics, b, h, start_n, unmasked, Nq, Nq, scale, exponent_scale,
            D, BLOCK_M, BLOCK_N, BLOCK_D, CAUSAL, True, PRECISION, TMA,
            WITH_K, WITH_V, HAS_TK, HAS_TV,
        )  # fmt: skip

    dk, dtk, dv, dtv = sums
    if WITH_K and x_src is None:
        dk_off = head_offset(b, h, stride_dkb, stride_dkh)
        dk_head = (dk_dst, dk_off, stride_dkn)
        store_tile(dk_head, start_n, Nk, dk * scale, D, BLOCK_N, BLOCK_D, PRECISION)
        if HAS_TK:
            dtk_head = (dtk_dst, dk_off, stride_dkn)
            store_tile(dtk_head, start_n, Nk, dtk * scale, D, BLOCK_N, BLOCK_D, PRECISION)
    if WITH_V:
        dv_off = head_offset(b, h, stride_dvb, stride_dvh)
        dv_head = (dv_dst, dv_off, stride_dvn)
        store_tile(dv_head, start_n, Nk, dv, D, BLOCK_N, BLOCK_D, PRECISION)
        if HAS_TV:
            dtv_head = (dtv_dst, dv_off, stride_dvn)
            store_tile(dtv_head, start_n, Nk, dtv, D, BLOCK_N, BLOCK_D, PRECISION)
    if x_src is not None:  # after values, whose registers it takes
        dv = rows_inside(dv, start_n, Nk, BLOCK_N)
        store_sum(of_v_bias_dst, dv, b, h, 3 * H, start_n, Nk, D, BLOCK_N, BLOCK_D)
        store_through_norm(
            (x_src, tx_src, s_src, of_scale_dst, of_bias_dst), (dk_dst, dtk_dst),
            (head_offset(b, h, stride_dkb, stride_dkh), stride_dkn), dk * scale, dtk * scale,
            b, h, H, start_n, Nk, D, BLOCK_N, BLOCK_D, EPS, PRECISION,
        )  # fmt: skip
