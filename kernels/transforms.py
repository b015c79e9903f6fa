"""Which of torch's transforms are active, and taking dual tensors apart."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

VMAP = (
    "attention has no rule for vmap: fold the mapped dimension into the batch, "
    "or use the dense backend"
)
NESTED = "attention has no nested forward mode: take tangents of tangents with the dense backend"


def split_dual(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The primal of x and its tangent; None if x has none (or no forward mode is active)."""
    primal, tangent = forward_ad.unpack_dual(x)
    return primal, tangent


def inside_functional_grad() -> bool:
    """Refuse vmap and forward mode inside forward mode; tell whether torch.func.grad is active.

    torch would run a custom op there with the outer tangent silently dropped. While the compiler
    traces, the op itself refuses (its rules for autograd and vmap).

    Raises:
        NotImplementedError: under vmap or nested forward mode.
    """
    if torch.compiler.is_compiling():
        return False
    stack = torch._C._functorch.get_interpreter_stack()
    if not stack:
        return False
    kinds = [interpreter.key() for interpreter in stack]
    transforms = torch._C._functorch.TransformType
    if transforms.Vmap in kinds:
        raise NotImplementedError(VMAP)
    if kinds.count(transforms.Jvp) > 1:
        raise NotImplementedError(NESTED)
    return transforms.Grad in kinds


def refuse_tangents(tensors: tuple[Tensor | None, ...]) -> None:
    """Raise NotImplementedError if one of the tensors still carries a tangent."""
    if forward_ad._current_level < 0:
        return
    for x in tensors:
        if x is not None and torch._VF._unpack_dual(x, level=0)[1] is not None:
            raise NotImplementedError(NESTED)
