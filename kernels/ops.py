"""The custom ops torch sees, and their autograd rules.

Defined with torch.library's lower layer: its decorator `custom_op` costs some 20 microseconds
a call more on the host, and training at 256 tokens is bound by that.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from kernels.launch import attention_jvp, attention_jvp_backward
from kernels.launcher import on_device
from kernels.operations import TAGS, LastPass, below_autograd, implement, tracked
from kernels.transforms import ATTENTION, Level, only_plain, refuse_tangents

_library = torch.library.Library("tvmlab_kernels", "DEF")
_INPUTS = "Tensor q, Tensor k, Tensor v, Tensor? tq, Tensor? tk, Tensor? tv"
_OPTIONS = "float scale, bool causal, bool tf32"
_library.define(
    f"attention_jvp({_INPUTS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor)",
    tags=TAGS,
)
_library.define(
    f"attention_jvp_backward(Tensor? do, Tensor? dto, {_INPUTS}, Tensor o, Tensor to, "
    f"Tensor lse, Tensor mu, {_OPTIONS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=TAGS,
)
forward_op = torch.ops.tvmlab_kernels.attention_jvp.default
backward_op = torch.ops.tvmlab_kernels.attention_jvp_backward.default

_run_forward = on_device(attention_jvp)
_run_backward = on_device(attention_jvp_backward)


def _run_below_autograd(op: Any, run: Any, *args: Any) -> tuple[Tensor, ...]:
    """Run the op under torch's autograd: at once on plain tensors, else through the dispatcher."""
    functional = torch._C._are_functorch_transforms_active()
    tensors = tuple([x for x in args if isinstance(x, Tensor)])
    found: tuple[Tensor, ...]
    found = run(*args) if not functional and only_plain(tensors) else below_autograd(op, args)
    return found


_forward_below_autograd = partial(_run_below_autograd, forward_op, _run_forward)
_last_pass = LastPass(
    backward_op, ATTENTION, partial(_run_below_autograd, backward_op, _run_backward)
)


class _Attention(torch.autograd.Function):
    """Reverse rule of the forward op."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return _forward_below_autograd(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*inputs[:6], *output)
        ctx.options = inputs[6:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        if grads[1] is None:  # a detached tangent: the backward of plain attention, which the
            q, k, v, _, _, _, o, _, *statistics = saved  # compiler then keeps no tangent for
            saved = (q, k, v, None, None, None, o, o, *statistics)
            dq, dk, dv, *_ = _backward(grads[0], None, *saved, *ctx.options)
            found: tuple[Tensor | None, ...] = (dq, dk, dv, None, None, None)
        else:
            found = _backward(*grads[:2], *saved, *ctx.options)
        needed = ctx.needs_input_grad
        return *(g if need else None for g, need in zip(found, needed)), None, None, None


class _EagerAttention(torch.autograd.Function):
    """The same without torch.func: a setup_context makes `apply` bind signatures, 20 us a call.

    Its outputs are o and to alone: each further one would cost autograd 1 us.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        o, to, lse, mu = _run_forward(*args)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*args[:6], o, to, lse, mu)
        ctx.options = args[6:]
        return o, to

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return _Attention.backward(ctx, *grads)


def forward(level: Level, *args: Any) -> tuple[Tensor, Tensor]:
    """o and to by the shortest way there is; args as the forward op takes them."""
    found: tuple[Tensor, ...]
    if level is Level.DISPATCHED:
        found = forward_op(*args)
    elif level is Level.FUNCTIONAL_GRAD:
        found = _Attention.apply(*args)
    elif tracked(args[:6]):
        found = _EagerAttention.apply(*args)
    else:
        found = _run_forward(*args)
    return found[0], found[1]


def _backward(*args: Any) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...]
    functional = torch._C._are_functorch_transforms_active() or torch.compiler.is_compiling()
    if functional or torch.is_grad_enabled() or not only_plain(args[:12]):
        found = _last_pass(*args)
    else:
        found = _run_backward(*args)
    return found


def _rule(*args: Any) -> tuple[Tensor, ...]:
    """The forward op's kernel for torch's autograd keys."""
    refuse_tangents(args[:6], ATTENTION)
    found: tuple[Tensor, ...]
    found = _Attention.apply(*args) if tracked(args[:6]) else _forward_below_autograd(*args)
    return found


implement(_library, "attention_jvp", attention_jvp, _rule, ATTENTION)
implement(_library, "attention_jvp_backward", attention_jvp_backward, _last_pass.rule, ATTENTION)
