"""Which of torch's transforms are active, and taking dual tensors apart."""

import enum
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter


class Refusals(NamedTuple):
    """What an operation says of transforms that it has no rule for."""

    operation: str
    instead: str

    @property
    def vmap(self) -> str:
        """Of torch.vmap."""
        what = f"{self.operation} has no rule for vmap"
        return f"{what}: fold the mapped dimension into the batch, or use {self.instead}"

    @property
    def nested(self) -> str:
        """Of forward mode inside forward mode, or around reverse mode."""
        what = f"{self.operation} has no nested forward mode"
        return f"{what}: take tangents of tangents with {self.instead}"

    @property
    def second(self) -> str:
        """Of a second reverse pass."""
        what = f"{self.operation} has no rule for a second reverse pass"
        return f"{what}: use {self.instead}, or drop create_graph=True"


ATTENTION = Refusals("attention", "the dense backend")
NORM = Refusals("the fused norm", "plain operations")
GELU = Refusals("the fused GELU", "plain operations")

_PLAIN = {Tensor, Parameter, type(None)}


def split_dual(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The primal of x and its tangent; None if x has none (or no forward mode is active)."""
    primal, tangent = forward_ad.unpack_dual(x)
    return primal, tangent


class Level(enum.Enum):
    """What surrounds a call, and so how it reaches the kernels."""

    EAGER = enum.auto()
    """Plain tensors and nothing around: no dispatcher is needed."""
    DISPATCHED = enum.auto()
    """The compiler's tracing, torch.func.jvp, a mode or a tensor subclass."""
    FUNCTIONAL_GRAD = enum.auto()
    """torch.func.grad, which finds no rule of an op's autograd key."""


def surrounding(tensors: tuple[Tensor | None, ...], refusals: Refusals) -> Level:
    """The level of a call with these tensors.

    torch would run a custom op under vmap or forward mode inside forward mode with the outer
    tangent silently dropped; that is refused, and so is forward mode around reverse mode. While
    the compiler traces, the op itself refuses (its rules for autograd and vmap).

    Raises:
        NotImplementedError: under vmap or nested forward mode.
    """
    if torch.compiler.is_compiling():
        return Level.DISPATCHED
    stack = torch._C._functorch.get_interpreter_stack()
    if stack:
        kinds = [interpreter.key() for interpreter in stack]
        transforms = torch._C._functorch.TransformType
        if transforms.Vmap in kinds:
            raise NotImplementedError(refusals.vmap)
        reverse = [place for place, kind in enumerate(kinds) if kind == transforms.Grad]
        outside = kinds[: reverse[-1]] if reverse else []
        if kinds.count(transforms.Jvp) > 1 or transforms.Jvp in outside:
            raise NotImplementedError(refusals.nested)
        return Level.FUNCTIONAL_GRAD if transforms.Grad in kinds else Level.DISPATCHED
    return Level.EAGER if only_plain(tensors) else Level.DISPATCHED


def only_plain(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether these are tensors of no subclass (fake ones are) and no dispatch mode is on."""
    if torch._C._len_torch_dispatch_stack() > 0:
        return False
    return {type(x) for x in tensors} <= _PLAIN


def refuse_tangents(tensors: tuple[Tensor | None, ...], refusals: Refusals) -> None:
    """Raise NotImplementedError if one of the tensors still carries a tangent."""
    if forward_ad._current_level < 0:
        return
    for x in tensors:
        if x is not None and torch._VF._unpack_dual(x, level=0)[1] is not None:
            raise NotImplementedError(refusals.nested)
