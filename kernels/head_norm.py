"""RMS norms of queries and keys in a joint projection, with tangents and the backward of both.

q = s_q x_q / sqrt(mean(x_q²) + eps) for each head, and k alike; values stay as they are. The
backward writes one gradient of the projection, values included, and those of both scales on the
way. Shape letters: B images, N tokens, H heads, D head size.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from kernels.errors import check_fused
from kernels.head_norm_joint import run_joint_backward
from kernels.head_norm_launch import parts_of, run_backward, run_forward
from kernels.launch import INTERPRETED
from kernels.operations import (
    NORMS,
    TAGS,
    LastPass,
    below_autograd,
    call,
    compiled_here,
    implement,
    passing_through,
)
from kernels.transforms import NORM, split_dual

LARGEST = 512  # head size

_INPUTS = "Tensor qkv, Tensor? tqkv, Tensor q_scale, Tensor k_scale, int heads"
NORMS.define(
    f"head_norm({_INPUTS}, float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=TAGS,
)
NORMS.define(
    f"head_norm_backward({_INPUTS}, Tensor dq, Tensor? dtq, Tensor dk, Tensor? dtk, Tensor dv, "
    "Tensor? dtv, float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=TAGS,
)
NORMS.define(  # only a compiled graph calls it, where framework.training.graph_joins puts it
    "attention_head_norm_backward(Tensor? do, Tensor? dto, Tensor q, Tensor k, Tensor v, "
    "Tensor? tq, Tensor? tk, Tensor? tv, Tensor o, Tensor to, Tensor lse, Tensor mu, "
    f"float scale, bool causal, bool tf32, {_INPUTS}, float eps) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=TAGS,
)
forward_op = torch.ops.tvmlab_norm.head_norm.default
backward_op = torch.ops.tvmlab_norm.head_norm_backward.default
joint_op = torch.ops.tvmlab_norm.attention_head_norm_backward.default
_last_pass = LastPass(backward_op, NORM)


def head_norm(
    qkv: Tensor, q_scale: Tensor, k_scale: Tensor, heads: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised queries and keys, and values, of a projection.

    Right under `torch.func.jvp` with reverse mode through it, compiled or not.

    Args:
        qkv: (B, N, 3 H D) on an NVIDIA GPU, 16 bits or float32, D <= LARGEST.
        q_scale: (D,), float32.
        k_scale: (D,), float32.
        heads: H.
        eps: what is added to the means of squares.

    Returns:
        q, k and v (B, N, H, D) in qkv's dtype.

    Raises:
        TypeError: a dtype has no kernel.
        ValueError: shapes or devices do not fit.
    """
    _check(qkv, q_scale, k_scale, heads)
    if any(split_dual(scale)[1] is not None for scale in (q_scale, k_scale)):
        raise NotImplementedError("the fused norm takes tangents of qkv alone, not of its scales")
    qkv, tqkv = split_dual(qkv)
    args = (qkv, tqkv, q_scale, k_scale, heads, eps)
    q, tq, k, tk, v, tv = _with_values(args, call(forward_op, _HeadNorm, args, 4, NORM))
    if tqkv is None:
        return q, k, v
    dual = forward_ad.make_dual
    return dual(q, tq), dual(k, tk), dual(v, tv)


def _check(qkv: Tensor, q_scale: Tensor, k_scale: Tensor, heads: int) -> None:
    if qkv.dim() != 3 or heads < 1 or qkv.shape[2] % (3 * heads):
        shape = tuple(qkv.shape)
        raise ValueError(f"qkv has shape {shape}, and needs (B, N, 3 x {heads} heads x D)")
    B, N, width = qkv.shape
    D = width // (3 * heads)
    tensors = {"qkv": (qkv, (B, N, width)), "q_scale": (q_scale, (D,)), "k_scale": (k_scale, (D,))}
    check_fused(tensors, D, LARGEST, INTERPRETED)


def takes(qkv: Tensor, heads: int) -> bool:
    """Whether there are kernels for (B, N, 3 H D), and the compiler is at work to call them."""
    return compiled_here(qkv) and qkv.shape[-1] <= 3 * heads * LARGEST


class _HeadNorm(torch.autograd.Function):
    """Reverse rule of the forward op."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return _with_values(args, below_autograd(forward_op, args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:4])
        ctx.heads, ctx.eps = inputs[4:]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        qkv, tqkv, *scales = ctx.saved_tensors
        if all(each is None for each in cotangents[1::2]):  # a detached tangent, or none
            tqkv = None
        filled = [
            qkv.new_zeros(parts_of(qkv, ctx.heads)[0].shape)
            if each is None and (k % 2 == 0 or tqkv is not None)
            else each
            for k, each in enumerate(cotangents)
        ]
        dqkv, dtqkv, *sums, _ = _last_pass(qkv, tqkv, *scales, ctx.heads, *filled, ctx.eps)
        of_scales = [part.sum(dim=(0, 1)).to(s.dtype) for part, s in zip(sums, scales)]
        return dqkv, None if tqkv is None else dtqkv, *of_scales, None, None


def _with_values(args: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs with values: parts of the projection, whose cotangents come back with it."""
    qkv, tqkv, _, _, heads, _ = args
    *normalised, v, tv = outputs
    if v.numel() < normalised[0].numel():
        v = parts_of(qkv, heads)[2]
        tv = tv if tqkv is None else parts_of(tqkv, heads)[2]
    return *normalised, v, tv


implement(
    NORMS, "head_norm", run_forward,
    passing_through(forward_op, _HeadNorm, 4, _with_values, NORM), NORM,
)  # fmt: skip
implement(NORMS, "head_norm_backward", run_backward, _last_pass.rule, NORM)
implement(
    NORMS, "attention_head_norm_backward", run_joint_backward,
    LastPass(joint_op, NORM).rule, NORM,
)  # fmt: skip
