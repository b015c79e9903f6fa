"""What the operations of this package share: how torch learns of them and their reverse rules."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels.errors import FLASH_DTYPES
from kernels.launch import INTERPRETED
from kernels.launcher import on_device
from kernels.transforms import Level, Refusals, only_plain, refuse_tangents, surrounding

TAGS = (torch.Tag.needs_exact_strides, torch.Tag.pt2_compliant_tag)
NORMS = torch.library.Library("tvmlab_norm", "DEF")

Outputs = tuple[Tensor, ...]


def implement(
    library: torch.library.Library, name: str, run: Callable[..., Any],
    rule: Callable[..., Any], refusals: Refusals,
) -> None:  # fmt: skip
    """Let torch know of an operation.

    Args:
        run: the operation, on tensors without memory too.
        rule: its kernel for autograd's keys.
        refusals: what it says where it is mapped.
    """

    def refuse(info: Any, in_dims: Any, *args: Any) -> Any:
        raise NotImplementedError(refusals.vmap)

    for device in ("CPU", "CUDA"):
        library.impl(name, on_device(run), device)
    library.impl(name, rule, "Autograd")
    torch.library.register_fake(f"{library.ns}::{name}", run, lib=library)
    torch.library.register_vmap(f"{library.ns}::{name}", refuse, lib=library)


def below_autograd(op: Any, args: tuple[Any, ...]) -> Outputs:
    """The operation under torch's autograd."""
    with torch._C._AutoDispatchBelowAutograd():
        outputs: Outputs = op(*args)
    return outputs


def call(
    op: Any, function: type[torch.autograd.Function], args: tuple[Any, ...], tensors: int,
    refusals: Refusals,
) -> Outputs:  # fmt: skip
    """The operation's outputs, by the way that what surrounds the call has a rule for.

    Args:
        op: the operation.
        function: its reverse rule.
        args: its arguments, of which the first `tensors` may be tracked.
        refusals: what it says of other transforms.
    """
    functional = surrounding(args[:tensors], refusals) is Level.FUNCTIONAL_GRAD
    found: Outputs = function.apply(*args) if functional else op(*args)
    return found


def tracked(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether autograd wants to know of what is done with these."""
    if torch.is_grad_enabled():
        for x in tensors:
            if x is not None and x.requires_grad:
                return True
    return False


def passing_through(
    op: Any, function: type[torch.autograd.Function], tensors: int,
    complete: Callable[[tuple[Any, ...], Outputs], Outputs], refusals: Refusals,
) -> Callable[..., Outputs]:  # fmt: skip
    """The kernel for autograd's keys of an operation that does not give what only passes through.

    What is compiled never reads that: when it runs, on plain tensors, the operation leaves it out.
    While it is traced, and with gradient, `complete` puts it in.

    Args:
        op: the operation.
        function: its reverse rule.
        tensors: how many of its arguments may be tracked, the first ones.
        complete: from arguments and outputs, the outputs with what passes through.
        refusals: what it says of other transforms.
    """

    def rule(*args: Any) -> Outputs:
        inputs = args[:tensors]
        refuse_tangents(inputs, refusals)
        if tracked(inputs):
            found: Outputs = function.apply(*args)
            return found
        outputs = below_autograd(op, args)
        return outputs if only_plain(inputs) else complete(args, outputs)

    return rule


class LastPass:
    """An operation that a reverse rule runs and that has none itself: to say so is better than 0.

    Args:
        op: the operation.
        refusals: what it says of transforms.
        run: runs it below autograd, if there is a shorter way than the dispatcher's.
    """

    def __init__(
        self, op: Any, refusals: Refusals, run: Callable[..., Outputs] | None = None
    ) -> None:
        below = (lambda *args: below_autograd(op, args)) if run is None else run
        self._op, self._below, self._refusals = op, below, refusals

        class Refusing(torch.autograd.Function):
            """The operation, and a refusal for its reverse rule."""

            @staticmethod
            def forward(*args: Any) -> Outputs:
                return below(*args)

            @staticmethod
            def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
                pass

            @staticmethod
            def backward(ctx: Any, *cotangents: Tensor | None) -> Outputs:
                raise NotImplementedError(refusals.second)

        self._function = Refusing

    def __call__(self, *args: Any) -> Outputs:
        """Run the operation in a backward pass."""
        functional = torch._C._are_functorch_transforms_active()
        found: Outputs = self._function.apply(*args) if functional else self._op(*args)
        return found

    def rule(self, *args: Any) -> Outputs:
        """The kernel for autograd's keys."""
        tensors = tuple([x for x in args if isinstance(x, Tensor)])
        refuse_tangents(tensors, self._refusals)
        found: Outputs = self._function.apply(*args) if tracked(tensors) else self._below(*args)
        return found


def compiled_here(x: Tensor) -> bool:
    """Whether the compiler is at work to call kernels for x, and x is where and what they take."""
    here = x.device.type == "cuda" or INTERPRETED
    return torch.compiler.is_compiling() and here and x.dtype in FLASH_DTYPES
