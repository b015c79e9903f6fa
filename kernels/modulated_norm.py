"""The modulated norm of tokens, a branch added before it, with tangents and the backward of both.

u = x + gate a; y = u / sqrt(mean(u²) + eps) (1 + scale) + shift: a transformer's residual stream
and what enters its next layer, in one pass over memory forwards and one backwards, sums over tokens
included. Shape letters: B images, N tokens, D hidden size.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from kernels.errors import FLASH_DTYPES, check_fused
from kernels.launch import INTERPRETED
from kernels.modulated_norm_launch import run_backward, run_forward
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

LARGEST = 4096  # numbers in a row that its program holds in registers

_INPUTS = (
    "Tensor x, Tensor? tx, Tensor? a, Tensor? ta, Tensor? e, Tensor? te, Tensor? hold, "
    "Tensor? thold, Tensor vectors, Tensor? tvectors"
)
NORMS.define(
    f"modulated_norm({_INPUTS}, float eps, ScalarType dtype, bool add_up) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    tags=TAGS,
)
NORMS.define(
    f"modulated_norm_backward({_INPUTS}, Tensor? du, Tensor? dtu, Tensor dy, Tensor? dty, "
    "float eps, bool again) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=TAGS,
)
forward_op = torch.ops.tvmlab_norm.modulated_norm.default
backward_op = torch.ops.tvmlab_norm.modulated_norm_backward.default
_last_pass = LastPass(backward_op, NORM)


def modulated_norm(
    x: Tensor, vectors: Tensor, eps: float, dtype: torch.dtype, branch: Tensor | None = None,
    earlier: tuple[Tensor, Tensor] | None = None, add_up: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """u = x + gate branch, and its RMS norm times 1 + scale, plus shift.

    Right under `torch.func.jvp` with reverse mode through it, compiled or not.

    Where u is asked for only by another of these norms, it need not be added up: then x comes back
    for u, to be given to that norm together with (branch, gate) as what is `earlier`. Their
    gradients come from the norm that has them as branch and gate, through the cotangent of u.

    Args:
        x: (B, N, D) tokens on an NVIDIA GPU, 16 bits or float32, D <= LARGEST.
        vectors: (B, 3, D), gate, shift and scale; without a branch (B, 2, D), shift and scale.
        eps: what is added to the mean of squares.
        dtype: of the normalised tokens.
        branch: (B, N, D), what a layer adds to the tokens.
        earlier: a branch (B, N, D) and its gate (B, 1, D) that x still lacks.
        add_up: whether to give u.

    Returns:
        u (B, N, D) in x's dtype, and the normalised tokens (B, N, D) in `dtype`.

    Raises:
        TypeError: a dtype has no kernel.
        ValueError: shapes or devices do not fit.
    """
    if dtype not in FLASH_DTYPES:
        raise TypeError(f"dtype is {dtype}: there are kernels for bf16, fp16 and fp32")
    _check(x, vectors, branch)
    given = (x, branch, *(earlier or (None, None)), vectors)
    pairs: list[tuple[Tensor | None, Tensor | None]]
    pairs = [(None, None) if each is None else split_dual(each) for each in given]
    dual = any(tangent is not None for _, tangent in pairs)
    if dual:
        pairs = [(p, _zero_like(p) if t is None else t) for p, t in pairs]
    args = (*(each for pair in pairs for each in pair), eps, dtype, add_up)
    u, tu, y, ty = _with_tokens(args, call(forward_op, _ModulatedNorm, args, 10, NORM))
    if not dual:
        return u, y
    return forward_ad.make_dual(u, tu), forward_ad.make_dual(y, ty)


def _zero_like(x: Tensor | None) -> Tensor | None:
    return None if x is None else torch.zeros_like(x)


def _check(x: Tensor, vectors: Tensor, branch: Tensor | None) -> None:
    if x.dim() != 3:
        raise ValueError(f"x has shape {tuple(x.shape)}, and needs three axes: (B, N, D)")
    B, _, D = shape = tuple(x.shape)
    tensors = {"x": (x, shape), "vectors": (vectors, (B, 2 if branch is None else 3, D))}
    if branch is not None:
        tensors["branch"] = (branch, shape)
    check_fused(tensors, D, LARGEST, INTERPRETED)


def takes(x: Tensor) -> bool:
    """Whether there are kernels for tokens (B, N, D), and the compiler is at work to call them."""
    return compiled_here(x) and x.shape[-1] <= LARGEST


class _ModulatedNorm(torch.autograd.Function):
    """Reverse rule of the forward op."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return _with_tokens(args, below_autograd(forward_op, args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:10])
        ctx.eps, ctx.dtype, _ = inputs[10:]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        given, (du, dtu, dy, dty) = ctx.saved_tensors, cotangents
        if dtu is None and dty is None:  # a detached tangent, or none
            given = [None if k % 2 else each for k, each in enumerate(given)]
        x, tx, *_ = given
        dy = torch.zeros_like(x, dtype=ctx.dtype) if dy is None else dy
        dty = torch.zeros_like(dy) if dty is None and tx is not None else dty
        *grads, sums, tsums, _, _, _ = _last_pass(*given, du, dtu, dy, dty, ctx.eps, False)
        tokens = [None if x is None else grad for x, grad in zip(given, grads)]
        parts = zip(given[8:], (sums, tsums))
        vectors = [None if x is None else part.sum(dim=1).to(x.dtype) for x, part in parts]
        return *tokens, None, None, None, None, *vectors, None, None, None


def _with_tokens(args: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs; where u is not added up, it is x itself, through which its cotangent comes."""
    x, tx = args[:2]
    u, tu, y, ty = outputs
    if u.numel() < x.numel():
        u, tu = x.view_as(x), tu if tx is None else tx.view_as(tx)
    return u, tu, y, ty


implement(
    NORMS, "modulated_norm", run_forward,
    passing_through(forward_op, _ModulatedNorm, 10, _with_tokens, NORM), NORM,
)  # fmt: skip
implement(NORMS, "modulated_norm_backward", run_backward, _last_pass.rule, NORM)
