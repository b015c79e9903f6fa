"""What the operations of this package share: how torch learns of them and their reverse rules."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels.errors import FLASH_DTYPES
from kernels.launch import INTERPRETED
from kernels.launcher import on_device
from kernels.transforms import only_plain, refuse_tangents

TAGS = (torch.Tag.needs_exact_strides, torch.Tag.pt2_compliant_tag)
NORMS = torch.library.Library("tvmlab_norm", "DEF")

Outputs = tuple[Tensor, ...]


def implement(library: torch.library.Library, name: str, run: Callable[..., Any]) -> None:
    """Let `run` be an operation, on tensors without memory too."""
    for device in ("CPU", "CUDA"):
        library.impl(name, on_device(run), device)
    torch.library.register_fake(f"{library.ns}::{name}", run, lib=library)


def below_autograd(op: Any, args: tuple[Any, ...]) -> Outputs:
    """The operation under torch's autograd."""
    with torch._C._AutoDispatchBelowAutograd():
        outputs: Outputs = op(*args)
    return outputs


def tracked(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether autograd wants to know of what is done with these."""
    if torch.is_grad_enabled():
        for x in tensors:
            if x is not None and x.requires_grad:
                return True
    return False


def passing_through(
    op: Any, function: type[torch.autograd.Function], tensors: int,
    complete: Callable[[tuple[Any, ...], Outputs], Outputs],
) -> Callable[..., Outputs]:  # fmt: skip
    """The kernel for autograd's keys of an operation that does not give what only passes through.

    What is compiled never reads that: when it runs, on plain tensors, the operation leaves it out.
    While it is traced, and with gradient, `complete` puts it in.

    Args:
        op: the operation.
        function: its reverse rule.
        tensors: how many of its arguments may be tracked, the first ones.
        complete: from arguments and outputs, the outputs with what passes through.
    """

    def rule(*args: Any) -> Outputs:
        inputs = args[:tensors]
        refuse_tangents(inputs)
        if tracked(inputs):
            found: Outputs = function.apply(*args)
            return found
        outputs = below_autograd(op, args)
        return outputs if only_plain(inputs) else complete(args, outputs)

    return rule


def compiled_here(x: Tensor) -> bool:
    """Whether the compiler is at work to call kernels for x, and x is where and what they take."""
    here = x.device.type == "cuda" or INTERPRETED
    return torch.compiler.is_compiling() and here and x.dtype in FLASH_DTYPES
