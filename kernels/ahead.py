"""Compiling kernels before they run, while torch.compile traces and lowers graphs.

Tracing runs an operation on tensors without memory, from which the variants that it will launch
follow.
"""

from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from kernels.apart import begin, processes

_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="triton-ahead")
_pending: dict[Hashable, Future] = {}
_MOST_SECONDS = 120  # a kernel takes some; a process that was killed never answers


def is_traced(x: Tensor) -> bool:
    """Whether this is a tensor of the compiler's, without memory."""
    return isinstance(x, FakeTensor)


def variant(
    kernel: Any, device: torch.device, pointers: tuple[Tensor | None, ...],
    numbers: tuple[float, ...], constants: dict[str, object],
) -> Hashable:  # fmt: skip
    """What identifies a compiled variant, but for the alignment of memory."""
    kinds = tuple([None if x is None else x.dtype for x in pointers])
    return (kernel, device.index, kinds, numbers, *constants.values())


def compile_ahead(
    kernel: Any, device: torch.device, pointers: tuple[Tensor | None, ...],
    numbers: tuple[float, ...], constants: dict[str, object],
) -> None:  # fmt: skip
    """Begin to compile kernel[(n,)](*pointers, *numbers, **constants), if there is a GPU for it."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return
    key = variant(kernel, device, pointers, numbers, constants)
    if key not in _pending:
        kinds = [None if x is None else x.dtype for x in pointers]
        _pending[key] = _threads.submit(
            _compile, processes(), kernel, device, (*kinds, *numbers), constants
        )


def finish(key: Hashable) -> None:
    """Wait for a variant that is being compiled; if that failed, its launch will say why."""
    future = _pending.get(key)
    if future is not None:
        wait([future])


def _compile(
    pool: Any | None, kernel: Any, device: torch.device, arguments: tuple[Any, ...],
    constants: dict[str, object],
) -> object:  # fmt: skip
    """Compile a kernel, and return what launches it: built by a C compiler when first asked for.

    If that failed in another process it fails here once more, and says why.
    """
    with torch.cuda.device(device):
        if pool is not None:
            wait([begin(pool, kernel, arguments, constants)], timeout=_MOST_SECONDS)
        return kernel.warmup(*arguments, grid=(1,), **constants).run
