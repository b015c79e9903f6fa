"""Launching a Triton kernel again at little cost on the host.

Triton looks at every argument of every launch to find the compiled variant: some 80 microseconds
for the 45 arguments here, and half a microsecond to check each pointer. All that it looks at
follows from shapes, strides, dtypes, alignments and settings: a plan is kept for each of their
combinations, and its compiled variant is launched directly, with addresses for pointers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels import tuning
from kernels.ahead import compile_ahead, finish, is_traced, variant
from kernels.descriptors import describe


@dataclass
class Plan:
    """A launch but for its tensors.

    Attributes:
        grid: number of programs.
        numbers: strides, sizes and scales, the arguments after the tensors.
        constants: the tl.constexpr parameters in order, then num_warps and num_stages.
        blocks: rows and columns that each tensor's descriptor loads; None to pass pointers.
        describe: makes the descriptor of a tensor for a block.
        run: launches the compiled variant, once there is one.
    """

    grid: int
    numbers: tuple[float, ...]
    constants: dict[str, object]
    blocks: tuple[tuple[int, int], ...] | None
    describe: Callable[[Tensor, int, int], Any] = describe
    run: Callable[..., object] | None = None

    def __post_init__(self) -> None:
        # A compiled variant is given the tl.constexpr parameters too, and passes over them.
        self._rest = (*self.numbers, *list(self.constants.values())[:-2])

    def launch(
        self, kernel: Any, read: tuple[Tensor | None, ...], other: tuple[Tensor | None, ...],
        where: tuple[int | None, ...],
    ) -> None:  # fmt: skip
        """kernel[(grid,)](*read, *other, *numbers, **constants) on the current GPU.

        Args:
            kernel: a triton.jit or gluon.jit function whose parameters come in this order.
            read: what the kernel takes as descriptors where there are `blocks`; None where it
                has a variant without.
            other: pointers, likewise.
            where: `addresses` of all of them.
        """
        sources: tuple[Any, ...] = read
        if self.blocks is not None:
            sources = tuple(
                None if x is None else self.describe(x, *block)
                for x, block in zip(read, self.blocks)
            )
        if self.run is None:
            compiled = kernel[(self.grid,)](*sources, *other, *self.numbers, **self.constants)
            if compiled is not None:  # the interpreter compiles nothing
                self.run = compiled[(self.grid, 1, 1)]
        elif self.blocks is None:
            self.run(*where, *self._rest)
        else:
            self.run(*sources, *where[len(read) :], *self._rest)


def on_device(run: Callable[..., Any]) -> Callable[..., Any]:
    """Run with the tensors' GPU as the current one: Triton launches on the current GPU."""

    def wrapped(*args: Any) -> Any:
        device = next(x for x in args if isinstance(x, Tensor)).device
        if device.type != "cuda" or device.index == torch.cuda.current_device():
            return run(*args)
        with torch.cuda.device(device):
            return run(*args)

    return wrapped


def addresses(*tensors: Tensor | None) -> tuple[int | None, ...]:
    """Where the tensors' memory begins."""
    return tuple([None if x is None else x.data_ptr() for x in tensors])


def launch(
    kernel: Any, grid: int, pointers: tuple[Tensor | None, ...], numbers: tuple[float, ...],
    constants: dict[str, object],
) -> None:  # fmt: skip
    """kernel[(grid,)](*pointers, *numbers, **constants), by a plan from the second time on.

    While torch.compile traces, nothing runs: the kernel is compiled ahead.

    Args:
        kernel: a triton.jit function whose parameters come in this order.
        grid: number of programs.
        pointers: tensors on the current GPU, the first one not None.
        numbers: strides, sizes and the like.
        constants: the tl.constexpr parameters in order, then num_warps and num_stages.
    """
    first = pointers[0]
    assert first is not None
    if is_traced(first):
        compile_ahead(kernel, first.device, pointers, numbers, constants)
        return
    where = addresses(*pointers)
    alignment = tuple([x % 16 for x in where if x])
    made = variant(kernel, first.device, pointers, numbers, constants)
    plan = tuning.remembered.get((made, grid, alignment))
    if plan is None:
        finish(made)
        plan = Plan(grid, numbers, constants, None)
        tuning.remember((made, grid, alignment), plan)
    plan.launch(kernel, (), pointers, where)
