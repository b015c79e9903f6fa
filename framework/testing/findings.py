"""What several checks look for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Findings = Iterator[str]
Given = Mapping[str, Any]  # what an instance was built with


class Hint(str):
    """A finding that harms some runs and not others: no run is refused for it.

    Precision and derivatives are such, which each run asks for as it needs them, and what a
    deliberate exception to the rule looks like.
    """

    __slots__ = ()


class Still(Hint):
    """A derivative by time that is zero where it should not be: nothing fails, and it is wrong.

    Losses that ask for tangents would train on it.
    """

    __slots__ = ()


def tensor(
    name: str, value: object, shape: Sequence[int], dtype: torch.dtype | None = None
) -> Findings:
    """Yield what is wrong with a tensor: its type, shape, dtype, or numbers that are not finite."""
    if not isinstance(value, Tensor):
        yield f"{name} is a {type(value).__name__}, not a tensor"
        return
    if tuple(value.shape) != tuple(shape):
        yield f"{name} has the shape {tuple(value.shape)} instead of {tuple(shape)}"
    if dtype is not None and value.dtype != dtype:
        yield Hint(f"{name} is {value.dtype} instead of {dtype}")
    if value.is_floating_point() and not value.isfinite().all():
        yield f"{name} has numbers that are not finite"


def differentiable(
    name: str, function: Callable[..., Tensor], *inputs: Tensor, reverse: bool = True
) -> Findings:
    """Hint at what is wrong with a function's derivatives, forward-mode ones and gradients."""
    tangents = tuple(torch.ones_like(each) for each in inputs)
    try:
        tangent = torch.func.jvp(function, inputs, tangents)[1]
    except (RuntimeError, NotImplementedError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        yield Hint(f"{name} has no forward-mode derivative: {reason}")
        return
    yield from map(Hint, tensor(f"the tangent of {name}", tangent, tangent.shape))
    if not reverse:
        return
    leaves = [each.detach().clone().requires_grad_() for each in inputs]
    out = function(*leaves)
    if not out.requires_grad:
        yield Hint(f"{name} is cut off from its input: no gradient flows")
        return
    for gradient in torch.autograd.grad(out.sum(), leaves, allow_unused=True):
        if gradient is not None:
            yield from map(Hint, tensor(f"the gradient of {name}", gradient, gradient.shape))
