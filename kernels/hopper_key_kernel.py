"""The backward's key pass for dk and dk' of head size 128 on Hopper, in Gluon.

Triton waits for every product of a loop that is no plain accumulation before it issues the next
one, and orders all warps of a program by barriers. Here two groups of four warps work on 64 keys
each, on their own; the first one orders copies for both. Transposed as in key_kernel, a column for
each query:

    S = k q^T    S' = k q'^T + k' q^T    G = v dO'^T - D1    H = v dO^T + v' dO'^T
    P = exp(a S - lse)    R = a S' - mu
    dS' = P∘G             dS = P∘(H + G∘R - D2)
    dk' = a dS' q         dk = a (dS q + dS' q')

For contiguous tensors, all of them there, token counts that are multiples of 128, no mask:
hopper.py decides. This file needs triton.experimental.gluon: import it from there alone.
"""

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

GROUP = gl.constexpr(64)  # keys of a group of four warps


@gluon.jit
def _fetch(
    tile_srcs: gl.tuple, tiles: gl.tuple, line_srcs: gl.tuple, lines: gl.tuple, there: gl.tuple,
    row: gl.tensor, stage: gl.tensor, pred: gl.tensor,
) -> None:  # fmt: skip
    """Order the copies of a block of queries: four tiles, and with each a row statistic.

    All threads wait for each other between two uses of a barrier: in this order only twice.
    """
    size: gl.constexpr = tile_srcs[0].block_type.nbytes + line_srcs[0].block_type.nbytes
    for n in gl.static_range(4):
        mbarrier.expect(there[n].index(stage), size, pred=pred)
    for n in gl.static_range(4):
        tma.async_copy_global_to_shared(
            tile_srcs[n], [row, 0], there[n].index(stage), tiles[n].index(stage), pred=pred
        )
    for n in gl.static_range(4):
        tma.async_copy_global_to_shared(
            line_srcs[n], [0, row], there[n].index(stage), lines[n].index(stage), pred=pred
        )


@gluon.jit
def _visit_queries(
    own_srcs: gl.tuple, own: gl.tuple, own_there: gl.shared_memory_descriptor,
    tile_srcs: gl.tuple, tiles: gl.tuple, line_srcs: gl.tuple, lines: gl.tuple, there: gl.tuple,
    free: gl.shared_memory_descriptor, dk_dst: gl.tensor, dtk_dst: gl.tensor,
    start: gl.tensor, head: gl.tensor, steps: gl.tensor,
    scale: gl.tensor, exponent_scale: gl.tensor,
    D: gl.constexpr, BLOCK: gl.constexpr, STAGES: gl.constexpr, INDEX: gl.constexpr,
) -> None:  # fmt: skip
    """Four warps: dk and dk' of 64 keys, from all queries. INDEX: which of the two groups.

    The barriers `there` tell that q and lse, q' and mu, dO' and D1, dO and D2 are there.
    """
    scores: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK, 16]
    )
    sums: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, D, 16]
    )
    left: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=sums, k_width=2)
    dtype: gl.constexpr = own[0].dtype
    k = own[0].index(INDEX)
    tk = own[1].index(INDEX)
    v = own[2].index(INDEX)
    tv = own[3].index(INDEX)
    start += INDEX * GROUP
    dk = warpgroup_mma_init(gl.zeros([GROUP, D], gl.float32, sums))
    dtk = warpgroup_mma_init(gl.zeros([GROUP, D], gl.float32, sums))
    zero = gl.zeros([GROUP, BLOCK], gl.float32, scores)
    if INDEX == 0:
        mbarrier.expect(own_there, 8 * own_srcs[0].block_type.nbytes)
        for n in gl.static_range(4):
            for group in gl.static_range(2):
                tma.async_copy_global_to_shared(
                    own_srcs[n], [start + group * GROUP, 0], own_there, own[n].index(group)
                )
        for i in gl.static_range(STAGES - 1):
            row = head + i * BLOCK
            _fetch(tile_srcs, tiles, line_srcs, lines, there, row, i, i < steps)
    mbarrier.wait(own_there, 0)
    stage = 0
    phase = 0
    before = STAGES - 1
    phase_before = 0
    for step in range(steps):
        q = tiles[0].index(stage)
        tq = tiles[1].index(stage)
        dto_t = tiles[2].index(stage).permute((1, 0))
        do_t = tiles[3].index(stage).permute((1, 0))
        mbarrier.wait(there[0].index(stage), phase)
        s = warpgroup_mma(k, q.permute((1, 0)), zero, use_acc=False, is_async=True)
        ts = warpgroup_mma(tk, q.permute((1, 0)), zero, use_acc=False, is_async=True)
        mbarrier.wait(there[1].index(stage), phase)
        ts = warpgroup_mma(k, tq.permute((1, 0)), ts, is_async=True)
        mbarrier.wait(there[2].index(stage), phase)
        g = warpgroup_mma(v, dto_t, zero, use_acc=False, is_async=True)
        # Products end in their order: with S the last ones of the step before are done, and
        # their stage is free.
        s, dk, dtk = warpgroup_mma_wait(3, deps=(s, dk, dtk))
        if INDEX == 1:
            mbarrier.arrive(free.index(before), count=1, pred=step > 0)
        lse = lines[0].index(stage).load(scores)
        mu = lines[1].index(stage).load(scores)
        d1 = lines[2].index(stage).load(scores)
        p = gl.exp2(s * exponent_scale - lse)
        ts = warpgroup_mma_wait(1, deps=(ts,))
        r = ts * scale - mu
        g = warpgroup_mma_wait(0, deps=(g,))
        g = g - d1
        mbarrier.wait(there[3].index(stage), phase)
        d2 = lines[3].index(stage).load(scores)
        h = warpgroup_mma(v, do_t, g * r - d2, is_async=True)
        h = warpgroup_mma(tv, dto_t, h, is_async=True)
        dts = gl.convert_layout((p * g).to(dtype), left)
        dtk = warpgroup_mma(dts, q, dtk, is_async=True)
        dk = warpgroup_mma(dts, tq, dk, is_async=True)
        h = warpgroup_mma_wait(2, deps=(h,))
        ds = gl.convert_layout((p * h).to(dtype), left)
        dk = warpgroup_mma(ds, q, dk, is_async=True)
        if INDEX == 0:
            ahead = step + STAGES - 1
            if step > 0:
                mbarrier.wait(free.index(before), phase_before)
            row = head + ahead * BLOCK
            _fetch(tile_srcs, tiles, line_srcs, lines, there, row, before, ahead < steps)
        before = stage
        phase_before = phase
        stage += 1
        if stage == STAGES:
            stage = 0
            phase ^= 1
    dk, dtk = warpgroup_mma_wait(0, deps=(dk, dtk))

    mine = start + gl.arange(0, GROUP, gl.SliceLayout(1, sums))
    columns = gl.arange(0, D, gl.SliceLayout(0, sums))
    at = mine[:, None].to(gl.int64) * D + columns[None, :]
    gl.store(dk_dst + at, (dk * scale).to(dtype))
    gl.store(dtk_dst + at, (dtk * scale).to(dtype))


@gluon.jit
def hopper_key_kernel(
    k_src: tma.tensor_descriptor, tk_src: tma.tensor_descriptor,
    v_src: tma.tensor_descriptor, tv_src: tma.tensor_descriptor,
    q_src: tma.tensor_descriptor, tq_src: tma.tensor_descriptor,
    dto_src: tma.tensor_descriptor, do_src: tma.tensor_descriptor,
    lse_src: tma.tensor_descriptor, mu_src: tma.tensor_descriptor,
    d1_src: tma.tensor_descriptor, d2_src: tma.tensor_descriptor,
    dk_dst: gl.tensor, dtk_dst: gl.tensor,
    N: gl.tensor, scale: gl.tensor, exponent_scale: gl.tensor,
    D: gl.constexpr, BLOCK: gl.constexpr, STAGES: gl.constexpr,
) -> None:  # fmt: skip
    """One program: 128 keys of one head, BLOCK queries a step. Grid: (B * H * N / 128,).

    Descriptors of (B * H * N, D) in blocks of (64, D) for k, k', v, v' and of (BLOCK, D) for q,
    q', dO', dO; of (1, B * H * N) in blocks of (1, BLOCK) for the row statistics.
    """
    dtype: gl.constexpr = k_src.dtype
    blocks = N // (2 * GROUP)
    head = gl.program_id(0) // blocks * N
    start = head + gl.program_id(0) % blocks * (2 * GROUP)
    steps = N // BLOCK

    k = gl.allocate_shared_memory(dtype, [2, GROUP, D], k_src.layout)
    tk = gl.allocate_shared_memory(dtype, [2, GROUP, D], k_src.layout)
    v = gl.allocate_shared_memory(dtype, [2, GROUP, D], k_src.layout)
    tv = gl.allocate_shared_memory(dtype, [2, GROUP, D], k_src.layout)
    q = gl.allocate_shared_memory(dtype, [STAGES, BLOCK, D], q_src.layout)
    tq = gl.allocate_shared_memory(dtype, [STAGES, BLOCK, D], q_src.layout)
    dto = gl.allocate_shared_memory(dtype, [STAGES, BLOCK, D], q_src.layout)
    do = gl.allocate_shared_memory(dtype, [STAGES, BLOCK, D], q_src.layout)
    lse = gl.allocate_shared_memory(gl.float32, [STAGES, 1, BLOCK], lse_src.layout)
    mu = gl.allocate_shared_memory(gl.float32, [STAGES, 1, BLOCK], lse_src.layout)
    d1 = gl.allocate_shared_memory(gl.float32, [STAGES, 1, BLOCK], lse_src.layout)
    d2 = gl.allocate_shared_memory(gl.float32, [STAGES, 1, BLOCK], lse_src.layout)
    own = (k, tk, v, tv)
    tiles = (q, tq, dto, do)
    lines = (lse, mu, d1, d2)

    barriers: gl.constexpr = mbarrier.MBarrierLayout()
    own_there = gl.allocate_shared_memory(gl.int64, [1], barriers)
    q_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    tq_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    dto_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    do_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    free = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barriers)
    there = (q_there, tq_there, dto_there, do_there)
    mbarrier.init(own_there, count=1)
    for i in gl.static_range(STAGES):
        for n in gl.static_range(4):
            mbarrier.init(there[n].index(i), count=1)
        mbarrier.init(free.index(i), count=1)
    fence_async_shared()

    own_srcs = (k_src, tk_src, v_src, tv_src)
    tile_srcs = (q_src, tq_src, dto_src, do_src)
    line_srcs = (lse_src, mu_src, d1_src, d2_src)
    gl.warp_specialize(
        [
            (_visit_queries, (
                own_srcs, own, own_there, tile_srcs, tiles, line_srcs, lines, there, free,
                dk_dst, dtk_dst, start, head, steps, scale, exponent_scale, D, BLOCK, STAGES, 0,
            )),
            (_visit_queries, (
                own_srcs, own, own_there, tile_srcs, tiles, line_srcs, lines, there, free,
                dk_dst, dtk_dst, start, head, steps, scale, exponent_scale, D, BLOCK, STAGES, 1,
            )),
        ],
        [4], [240],
    )  # fmt: skip
