"""Launches of the kernels of the norms of queries and keys: layouts, shares of rows, outputs.

Shape letters: B images, N tokens, H heads, D head size.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.head_norm_kernels import head_norm_backward_kernel, head_norm_forward_kernel
from kernels.launch import padded
from kernels.launcher import launch

NUMBERS = 1024  # in the rows that a program has in registers at a time
STAGES = 3  # such blocks of rows on their way from memory
PROGRAMS = 1056  # of the backward, each summing over its rows for the scale's gradient


class Share(NamedTuple):
    """Rows that a program takes at a time, and how often it does in the backward, for a head."""

    rows: int
    steps: int
    parts: int


def share_of(part: Tensor) -> Share:
    """Shares of heads (B, N, H, D)."""
    B, N, H, D = part.shape
    rows = max(1, NUMBERS // padded(D))
    steps = max(1, -(-B * N * H // (rows * PROGRAMS)))
    return Share(rows, steps, -(-B * N // (rows * steps)))


def parts_of(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Queries, keys and values (B, N, H, D) of a projection (B, N, 3 H D), where they lie."""
    return qkv.unflatten(-1, (3, heads, -1)).unbind(dim=-3)


def run_forward(
    qkv: Tensor, tqkv: Tensor | None, q_scale: Tensor, k_scale: Tensor, heads: int, eps: float
) -> tuple[Tensor, ...]:
    """q, q', k, k' (B, N, H, D); no elements for tangents that are None, and for v and v'."""
    sources, tsources = _dense(qkv, heads), _dense(tqkv, heads)
    outputs: list[Tensor] = []
    for part, scale in enumerate((q_scale, k_scale)):
        x, tx = sources[part], tsources[part] if tsources else None
        y, ty = x.new_empty(x.shape), x.new_empty(0 if tx is None else x.shape)
        total, share = x.numel() // x.shape[3], share_of(x)
        numbers = (x.stride(1), 0 if tx is None else tx.stride(1), total, eps)
        grid = -(-total // share.rows)
        constants = {**_sizes(x, share), **_HOW}
        launch(head_norm_forward_kernel, grid, (x, tx, scale, y, ty), numbers, constants)
        outputs += (y, ty)
    return *outputs, qkv.new_empty(0), qkv.new_empty(0)


def run_backward(
    qkv: Tensor, tqkv: Tensor | None, q_scale: Tensor, k_scale: Tensor, heads: int,
    dq: Tensor, dtq: Tensor | None, dk: Tensor, dtk: Tensor | None, dv: Tensor,
    dtv: Tensor | None, eps: float,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of qkv and its tangent (no elements if None) and of both scales; sums of the first.

    Those of scales are (P, H, D), in float32, sums over one of P parts of all tokens; so are the
    sums of qkv's gradient, a layer's for its bias, (P, 3 H D). Values are copied on the way, in the
    launch for queries.
    """
    B, N, width = qkv.shape
    dqkv, dtqkv = qkv.new_empty(qkv.shape), qkv.new_empty(0 if tqkv is None else qkv.shape)
    sources, tsources = _dense(qkv, heads), _dense(tqkv, heads)
    targets, ttargets = parts_of(dqkv, heads), parts_of(dtqkv, heads) if tsources else ()
    values = (dv.contiguous(), None if dtv is None or not ttargets else dtv.contiguous())
    share = share_of(sources[0])
    of_bias = qkv.new_empty((share.parts, 3, heads, width // (3 * heads)), dtype=torch.float32)
    biases = of_bias.unbind(dim=1)
    of_scales: list[Tensor] = []
    for part, (scale, dy, dty) in enumerate(((q_scale, dq, dtq), (k_scale, dk, dtk))):
        x, tx = sources[part], tsources[part] if tsources else None
        dx, dtx = targets[part], ttargets[part] if ttargets else None
        of_scale = qkv.new_empty(biases[0].shape, dtype=torch.float32)
        cotangents = (dy.contiguous(), None if dty is None or tx is None else dty.contiguous())
        copied = (*values, targets[2], ttargets[2] if ttargets else None) if part == 0 else _NONE
        sums = (of_scale, biases[part], biases[2] if part == 0 else None)
        pointers = (x, tx, scale, *cotangents, dx, dtx, *copied, *sums)
        tstride = 0 if tx is None else tx.stride(1)
        numbers = (x.stride(1), tstride, dx.stride(1), B * N, eps)
        constants = {**_sizes(x, share), "STEPS": share.steps, "STAGES": STAGES, **_HOW}
        launch(head_norm_backward_kernel, share.parts * heads, pointers, numbers, constants)
        of_scales.append(of_scale)
    return dqkv, dtqkv, *of_scales, of_bias.flatten(1)


_NONE = (None, None, None, None)
_HOW: dict[str, object] = {"num_warps": 4, "num_stages": 1}


def _sizes(x: Tensor, share: Share) -> dict[str, object]:
    H, D = x.shape[2:]
    return {"H": H, "D": D, "ROWS": share.rows, "BLOCK_D": padded(D)}


def _dense(qkv: Tensor | None, heads: int) -> tuple[Tensor, ...]:
    """Parts of a projection, tokens a stride apart; none of None."""
    return () if qkv is None else parts_of(qkv.contiguous(), heads)
