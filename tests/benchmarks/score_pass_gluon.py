"""An experiment: the backward's two passes of nine products, of head size 128, in Gluon.

Triton waits for every product of a loop that is no plain accumulation before it issues the next
one, and orders all warps of a program by barriers. Here two groups of four warps work on 64 rows
each, on their own; the first one orders copies for both. Query and key pass are one kernel, since
they differ in names and in the axis of the row statistics alone:

    query pass: own a, ta, c, tc = q, q', dO', dO; visited x, tx, y, ty = k, k', v, v'
    key pass:   own a, ta, c, tc = k, k', v, v';   visited x, tx, y, ty = q, q', dO', dO

    S = a x^T    S' = a tx^T + ta x^T    G = c y^T - D1    H = c ty^T + tc y^T
    dS' = P∘G    dS = P∘(H + G∘R - D2)
    da' = dS' x  da = dS x + dS' tx

For contiguous tensors with all tangents, token counts that are multiples of 128, no mask.
"""

import torch
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_init,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from kernels.launch import LOG2_E, Inputs, Outputs

GROUP = gl.constexpr(64)  # rows of a group of four warps
OPTIONS = {"num_warps": 4}


@gluon.jit
def _fetch(sources, tiles, statistics, lines, there, row, stage, pred, KEYS: gl.constexpr):
    """Order the copies of a block. Each has a barrier: in one's order all threads would wait."""
    for n in gl.static_range(4):
        barrier = there[n].index(stage)
        mbarrier.expect(barrier, sources[n].block_type.nbytes, pred=pred)
        tma.async_copy_global_to_shared(
            sources[n], [row, 0], barrier, tiles[n].index(stage), pred=pred
        )
    if KEYS:
        barrier = there[4].index(stage)
        mbarrier.expect(barrier, statistics.block_type.nbytes, pred=pred)
        tma.async_copy_global_to_shared(
            statistics, [0, row], barrier, lines.index(stage), pred=pred
        )


@gluon.jit
def _consume(
    own_sources, own, own_there, sources, tiles, statistics, lines, there, free,
    da_dst, dta_dst, start, head, rows, steps, scale, exponent_scale,
    D: gl.constexpr, BLOCK: gl.constexpr, STAGES: gl.constexpr, KEYS: gl.constexpr,
    INDEX: gl.constexpr,
):  # fmt: skip
    """Four warps: da and da' of 64 rows."""
    scores: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK, 16]
    )
    sums: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, D, 16]
    )
    left: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=sums, k_width=2)
    dtype: gl.constexpr = own[0].dtype
    a = own[0].index(INDEX)
    ta = own[1].index(INDEX)
    c = own[2].index(INDEX)
    tc = own[3].index(INDEX)
    start += INDEX * GROUP
    if not KEYS:
        rows = rows.to(gl.int64)
        mine = start + gl.arange(0, GROUP, gl.SliceLayout(1, scores))
        lse = gl.load(statistics + mine)[:, None]
        mu = gl.load(statistics + rows + mine)[:, None]
        d1 = gl.load(statistics + 2 * rows + mine)[:, None]
        d2 = gl.load(statistics + 3 * rows + mine)[:, None]
    da = warpgroup_mma_init(gl.zeros([GROUP, D], gl.float32, sums))
    dta = warpgroup_mma_init(gl.zeros([GROUP, D], gl.float32, sums))
    zero = gl.zeros([GROUP, BLOCK], gl.float32, scores)
    if INDEX == 0:
        mbarrier.expect(own_there, 8 * own_sources[0].block_type.nbytes)
        for n in gl.static_range(4):
            for group in gl.static_range(2):
                tma.async_copy_global_to_shared(
                    own_sources[n], [start + group * GROUP, 0], own_there, own[n].index(group)
                )
        for i in gl.static_range(STAGES - 1):
            _fetch(sources, tiles, statistics, lines, there, head + i * BLOCK, i, i < steps, KEYS)
    mbarrier.wait(own_there, 0)
    stage = 0
    phase = 0
    before = STAGES - 1
    phase_before = 0
    for step in range(steps):
        x = tiles[0].index(stage)
        tx = tiles[1].index(stage)
        y = tiles[2].index(stage).permute((1, 0))
        ty = tiles[3].index(stage).permute((1, 0))
        mbarrier.wait(there[0].index(stage), phase)
        s = warpgroup_mma(a, x.permute((1, 0)), zero, use_acc=False, is_async=True)
        ts = warpgroup_mma(ta, x.permute((1, 0)), zero, use_acc=False, is_async=True)
        mbarrier.wait(there[1].index(stage), phase)
        ts = warpgroup_mma(a, tx.permute((1, 0)), ts, is_async=True)
        mbarrier.wait(there[2].index(stage), phase)
        g = warpgroup_mma(c, y, zero, use_acc=False, is_async=True)
        # Products end in their order: with S the last ones of the step before are done, and
        # their stage is free.
        s, da, dta = warpgroup_mma_wait(3, deps=(s, da, dta))
        if INDEX == 1:
            mbarrier.arrive(free.index(before), count=1, pred=step > 0)
        if KEYS:
            mbarrier.wait(there[4].index(stage), phase)
            line = lines.index(stage)
            lse = line.slice(0, 1).load(scores)
            mu = line.slice(1, 1).load(scores)
            d1 = line.slice(2, 1).load(scores)
            d2 = line.slice(3, 1).load(scores)
        p = gl.exp2(s * exponent_scale - lse)
        ts = warpgroup_mma_wait(1, deps=(ts,))
        r = ts * scale - mu
        g = warpgroup_mma_wait(0, deps=(g,))
        g = g - d1
        mbarrier.wait(there[3].index(stage), phase)
        h = warpgroup_mma(c, ty, g * r - d2, is_async=True)
        h = warpgroup_mma(tc, y, h, is_async=True)
        dts = gl.convert_layout((p * g).to(dtype), left)
        dta = warpgroup_mma(dts, x, dta, is_async=True)
        da = warpgroup_mma(dts, tx, da, is_async=True)
        h = warpgroup_mma_wait(2, deps=(h,))
        ds = gl.convert_layout((p * h).to(dtype), left)
        da = warpgroup_mma(ds, x, da, is_async=True)
        if INDEX == 0:
            ahead = step + STAGES - 1
            if step > 0:
                mbarrier.wait(free.index(before), phase_before)
            _fetch(
                sources, tiles, statistics, lines, there, head + ahead * BLOCK, before,
                ahead < steps, KEYS,
            )  # fmt: skip
        before = stage
        phase_before = phase
        stage += 1
        if stage == STAGES:
            stage = 0
            phase ^= 1
    da, dta = warpgroup_mma_wait(0, deps=(da, dta))

    mine = start + gl.arange(0, GROUP, gl.SliceLayout(1, sums))
    columns = gl.arange(0, D, gl.SliceLayout(0, sums))
    at = mine[:, None].to(gl.int64) * D + columns[None, :]
    gl.store(da_dst + at, (da * scale).to(dtype))
    gl.store(dta_dst + at, (dta * scale).to(dtype))


@gluon.jit
def score_pass(
    a_src, ta_src, c_src, tc_src, x_src, tx_src, y_src, ty_src,
    statistics, da_dst, dta_dst, rows, N, scale, exponent_scale,
    D: gl.constexpr, BLOCK: gl.constexpr, STAGES: gl.constexpr, KEYS: gl.constexpr,
    num_warps: gl.constexpr,
):  # fmt: skip
    """da and da' of 128 rows. Grid: (B * H * N / 128,)."""
    dtype: gl.constexpr = a_src.dtype
    blocks = N // (2 * GROUP)
    head = gl.program_id(0) // blocks * N
    start = head + gl.program_id(0) % blocks * (2 * GROUP)
    steps = N // BLOCK

    own_layout: gl.constexpr = a_src.layout
    layout: gl.constexpr = x_src.layout
    a = gl.allocate_shared_memory(dtype, [2, GROUP, D], own_layout)
    ta = gl.allocate_shared_memory(dtype, [2, GROUP, D], own_layout)
    c = gl.allocate_shared_memory(dtype, [2, GROUP, D], own_layout)
    tc = gl.allocate_shared_memory(dtype, [2, GROUP, D], own_layout)
    x = gl.allocate_shared_memory(dtype, [STAGES, BLOCK, D], layout)
    tx = gl.allocate_shared_memory(dtype, [STAGES, BLOCK, D], layout)
    y = gl.allocate_shared_memory(dtype, [STAGES, BLOCK, D], layout)
    ty = gl.allocate_shared_memory(dtype, [STAGES, BLOCK, D], layout)
    own = (a, ta, c, tc)
    tiles = (x, tx, y, ty)
    barriers: gl.constexpr = mbarrier.MBarrierLayout()
    own_there = gl.allocate_shared_memory(gl.int64, [1], barriers)
    x_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    tx_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    y_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    ty_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    line_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    there = (x_there, tx_there, y_there, ty_there, line_there)
    lines = statistics
    if KEYS:
        lines = gl.allocate_shared_memory(gl.float32, [STAGES, 4, BLOCK], statistics.layout)
    free = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    mbarrier.init(own_there, count=1)
    for i in gl.static_range(STAGES):
        for n in gl.static_range(5):
            mbarrier.init(there[n].index(i), count=1)
        mbarrier.init(free.index(i), count=1)
    fence_async_shared()

    sources = (x_src, tx_src, y_src, ty_src)
    own_sources = (a_src, ta_src, c_src, tc_src)
    gl.warp_specialize(
        [
            (_consume, (
                own_sources, own, own_there, sources, tiles, statistics, lines, there, free,
                da_dst, dta_dst, start, head, rows, steps, scale, exponent_scale,
                D, BLOCK, STAGES, KEYS, 0,
            )),
            (_consume, (
                own_sources, own, own_there, sources, tiles, statistics, lines, there, free,
                da_dst, dta_dst, start, head, rows, steps, scale, exponent_scale,
                D, BLOCK, STAGES, KEYS, 1,
            )),
        ],
        [4], [240],
    )  # fmt: skip


def prepare(
    kernel: str, inputs: Inputs, outputs: Outputs, row_sums: tuple[Tensor, Tensor], scale: float
) -> tuple[int, tuple[object, ...], tuple[Tensor, Tensor]]:
    """Grid and arguments for `score_pass` as "query" or "key_k", and da, da' that it will fill."""
    B, H, N, D = inputs.q.shape
    block, stages, keys = 32, 3, kernel == "key_k"
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)

    def described(x: Tensor | None, rows: int) -> TensorDescriptor:
        if x is None:
            raise ValueError("this experiment needs all tangents and cotangents")
        return TensorDescriptor.from_tensor(x.view(B * H * N, D), [rows, D], layout)

    q, k, v, tq, tk, tv = inputs
    of_queries = (q, tq, outputs.dto, outputs.do)
    of_keys = (k, tk, v, tv)
    own = of_keys if keys else of_queries
    visited = of_queries if keys else of_keys
    statistics: Tensor | TensorDescriptor
    statistics = torch.stack((outputs.lse, outputs.mu, *row_sums)).view(4, B * H * N)
    if keys:
        line = gl.NVMMASharedLayout(swizzle_byte_width=0, element_bitwidth=32, rank=2)
        statistics = TensorDescriptor.from_tensor(statistics, [4, block], line)
    grads = (torch.empty_like(q), torch.empty_like(q))
    arguments = (
        *(described(x, 64) for x in own), *(described(x, block) for x in visited),
        statistics, *grads, B * H * N, N, scale, scale * LOG2_E, D, block, stages, keys,
    )  # fmt: skip
    return B * H * N // 128, arguments, grads
