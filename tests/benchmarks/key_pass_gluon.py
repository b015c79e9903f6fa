"""An experiment: the key pass of head size 128 in Gluon, its products issued without waiting.

Triton waits for every product of a loop that is no plain accumulation before it issues the next
one; Gluon leaves the waiting to us. One program holds 128 keys; k, v and their tangents stay in
shared memory, q, dO and theirs come through three stages of 32 queries. dk and dk' as in
kernels.key_kernel, which is the twin that the interpreter runs. For contiguous tensors with all
tangents, token counts that are multiples of 128, one GPU of compute capability 9.0.
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


@gluon.jit
def _fetch(descriptors, tiles, barriers, row, step, steps, STAGES: gl.constexpr):
    """Order the copies of a step's four tiles."""
    stage = step % STAGES
    there = step < steps
    for n in gl.static_range(4):
        barrier = barriers[n].index(stage)
        mbarrier.expect(barrier, descriptors[n].block_type.nbytes, pred=there)
    for n in gl.static_range(4):
        tma.async_copy_global_to_shared(
            descriptors[n], [row, 0], barriers[n].index(stage), tiles[n].index(stage), pred=there
        )


@gluon.jit
def key_k_gluon(
    k_src, tk_src, v_src, tv_src, q_src, tq_src, do_src, dto_src,
    lse_src, mu_src, d1_src, d2_src, dk_dst, dtk_dst, N, scale, exponent_scale,
    D: gl.constexpr, BLOCK_M: gl.constexpr, BLOCK_N: gl.constexpr, STAGES: gl.constexpr,
    LATE: gl.constexpr, num_warps: gl.constexpr,
):  # fmt: skip
    """dk and dk' of BLOCK_N keys. Grid: (B * H * N / BLOCK_N,). LATE: D1 and D2 read at need."""
    scores: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[num_warps, 1], instr_shape=[16, BLOCK_M, 16]
    )
    sums: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[num_warps, 1], instr_shape=[16, D, 16]
    )
    left: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=sums, k_width=2)
    dtype: gl.constexpr = q_src.dtype
    blocks = N // BLOCK_N
    head = gl.program_id(0) // blocks * N
    start_n = gl.program_id(0) % blocks * BLOCK_N

    k = gl.allocate_shared_memory(dtype, [BLOCK_N, D], k_src.layout)
    tk = gl.allocate_shared_memory(dtype, [BLOCK_N, D], k_src.layout)
    v = gl.allocate_shared_memory(dtype, [BLOCK_N, D], k_src.layout)
    tv = gl.allocate_shared_memory(dtype, [BLOCK_N, D], k_src.layout)
    qs = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_M, D], q_src.layout)
    tqs = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_M, D], q_src.layout)
    dos = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_M, D], q_src.layout)
    dtos = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_M, D], q_src.layout)
    # One barrier a tile: copies that share one would be ordered by a barrier of all threads.
    barrier_layout: gl.constexpr = mbarrier.MBarrierLayout()
    q_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier_layout)
    tq_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier_layout)
    do_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier_layout)
    dto_there = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier_layout)
    own_there = gl.allocate_shared_memory(gl.int64, [1], barrier_layout)
    barriers = (q_there, tq_there, do_there, dto_there)
    descriptors = (q_src, tq_src, do_src, dto_src)
    tiles = (qs, tqs, dos, dtos)
    for n in gl.static_range(4):
        for i in gl.static_range(STAGES):
            mbarrier.init(barriers[n].index(i), count=1)
    mbarrier.init(own_there, count=1)
    fence_async_shared()

    mbarrier.expect(own_there, 4 * k_src.block_type.nbytes)
    tma.async_copy_global_to_shared(k_src, [head + start_n, 0], own_there, k)
    tma.async_copy_global_to_shared(tk_src, [head + start_n, 0], own_there, tk)
    tma.async_copy_global_to_shared(v_src, [head + start_n, 0], own_there, v)
    tma.async_copy_global_to_shared(tv_src, [head + start_n, 0], own_there, tv)
    steps = N // BLOCK_M
    for i in gl.static_range(STAGES - 1):
        _fetch(descriptors, tiles, barriers, head + i * BLOCK_M, i, steps, STAGES)
    mbarrier.wait(own_there, 0)

    dk = warpgroup_mma_init(gl.zeros([BLOCK_N, D], gl.float32, sums))
    dtk = warpgroup_mma_init(gl.zeros([BLOCK_N, D], gl.float32, sums))
    zero = gl.zeros([BLOCK_N, BLOCK_M], gl.float32, scores)
    columns = gl.arange(0, BLOCK_M, gl.SliceLayout(0, scores))
    for step in range(steps):
        stage = step % STAGES
        rows = head + step * BLOCK_M + columns
        lse = gl.load(lse_src + rows)
        mu = gl.load(mu_src + rows)
        if not LATE:
            d1 = gl.load(d1_src + rows)
            d2 = gl.load(d2_src + rows)
        for n in gl.static_range(4):
            mbarrier.wait(barriers[n].index(stage), step // STAGES & 1)
        q = qs.index(stage)
        tq = tqs.index(stage)
        do = dos.index(stage)
        dto = dtos.index(stage)
        st = warpgroup_mma(k, q.permute((1, 0)), zero, use_acc=False, is_async=True)
        tst = warpgroup_mma(tk, q.permute((1, 0)), zero, use_acc=False, is_async=True)
        tst = warpgroup_mma(k, tq.permute((1, 0)), tst, is_async=True)
        gt = warpgroup_mma(v, dto.permute((1, 0)), zero, use_acc=False, is_async=True)
        ht = warpgroup_mma(v, do.permute((1, 0)), zero, use_acc=False, is_async=True)
        ht = warpgroup_mma(tv, dto.permute((1, 0)), ht, is_async=True)
        # Products end in their order: with S^T the last ones of the step before are done, and
        # their stage is free.
        st, dk, dtk = warpgroup_mma_wait(5, deps=(st, dk, dtk))
        ahead = step + STAGES - 1
        _fetch(descriptors, tiles, barriers, head + ahead * BLOCK_M, ahead, steps, STAGES)
        if LATE:
            d1 = gl.load(d1_src + rows)
            d2 = gl.load(d2_src + rows)
        pt = gl.exp2(st * exponent_scale - lse[None, :])
        tst = warpgroup_mma_wait(3, deps=(tst,))
        rt = tst * scale - mu[None, :]
        gt = warpgroup_mma_wait(2, deps=(gt,))
        gt = gt - d1[None, :]
        dtst = gl.convert_layout((pt * gt).to(dtype), left)
        rest = gt * rt - d2[None, :]
        dtk = warpgroup_mma(dtst, q, dtk, is_async=True)
        dk = warpgroup_mma(dtst, tq, dk, is_async=True)
        ht = warpgroup_mma_wait(2, deps=(ht,))
        dst = gl.convert_layout((pt * (ht + rest)).to(dtype), left)
        dk = warpgroup_mma(dst, q, dk, is_async=True)
    dk, dtk = warpgroup_mma_wait(0, deps=(dk, dtk))

    keys = gl.arange(0, BLOCK_N, gl.SliceLayout(1, sums))
    elements = gl.arange(0, D, gl.SliceLayout(0, sums))
    at = (head + start_n + keys)[:, None].to(gl.int64) * D + elements[None, :]
    gl.store(dk_dst + at, (dk * scale).to(dtype))
    gl.store(dtk_dst + at, (dtk * scale).to(dtype))


def prepare(
    inputs: Inputs, outputs: Outputs, row_sums: tuple[Tensor, Tensor], scale: float, late: bool
) -> tuple[int, tuple[object, ...], tuple[Tensor, Tensor]]:
    """Grid and arguments for `key_k_gluon`, and dk, dk' (B, H, N, D) that it will fill."""
    B, H, N, D = inputs.q.shape
    block_m, block_n, stages = 32, 128, 3
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)

    def described(x: Tensor | None, rows: int) -> TensorDescriptor:
        if x is None:
            raise ValueError("this experiment needs all tangents and cotangents")
        return TensorDescriptor.from_tensor(x.view(B * H * N, D), [rows, D], layout)

    own = [described(x, block_n) for x in (inputs.k, inputs.tk, inputs.v, inputs.tv)]
    visited = [described(x, block_m) for x in (inputs.q, inputs.tq, outputs.do, outputs.dto)]
    grads = (torch.empty_like(inputs.k), torch.empty_like(inputs.k))
    arguments = (
        *own, *visited, outputs.lse, outputs.mu, *row_sums, *grads, N, scale, scale * LOG2_E,
        D, block_m, block_n, stages, late,
    )  # fmt: skip
    return B * H * N // block_n, arguments, grads
