"""Launching a Triton kernel again at little cost on the host.

Triton looks at every argument of every launch to find the compiled variant: some 80 microseconds
for the 45 arguments here. All that it looks at follows from shapes, strides, dtypes, alignments
and settings; the compiled variant is kept under those and launched directly.
"""

from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor

_LIMIT = 4096
_compiled: dict[Hashable, tuple[Any, list[object]]] = {}


def launch(
    kernel: Any, grid: int, sources: tuple[Any, ...], tensors: tuple[Tensor | None, ...],
    numbers: tuple[float, ...], constants: Callable[[], dict[str, object]], key: Hashable,
) -> None:  # fmt: skip
    """kernel[(grid,)](*sources, *tensors, *numbers, **constants()) on the current GPU.

    Args:
        kernel: a triton.jit function whose parameters come in this order; the constants end in
            num_warps and num_stages.
        grid: number of programs.
        sources: pointers or tensor descriptors, None where the kernel has a variant without.
        tensors: pointers, likewise.
        numbers: strides, sizes and scales.
        constants: gives the tl.constexpr parameters in order, then the launch options.
        key: all that determines dtypes, device and constants.
    """
    pointers = [x for x in (*sources, *tensors) if isinstance(x, Tensor)]
    full_key = (key, grid, numbers, *[x.data_ptr() % 16 == 0 for x in pointers])
    known = _compiled.get(full_key)
    if known is not None:
        run, constexprs = known
        run(*sources, *tensors, *numbers, *constexprs)
        return
    given = constants()
    compiled = kernel[(grid,)](*sources, *tensors, *numbers, **given)
    if compiled is not None:  # the interpreter compiles nothing
        if len(_compiled) >= _LIMIT:
            _compiled.clear()
        _compiled[full_key] = (compiled[(grid, 1, 1)], list(given.values())[:-2])
