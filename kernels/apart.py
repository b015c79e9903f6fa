"""Compiling a kernel in a process that needs no GPU: Triton's cache on the disk has it then.

Half of what Triton does for a kernel holds Python's lock, for which threads wait in turn with what
traces and lowers graphs meanwhile; the compiler's own processes have locks of their own.
"""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from importlib import import_module
from typing import Any, NamedTuple

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver


class Job(NamedTuple):
    """A variant of a kernel.

    Attributes:
        module, name: where the kernel is found.
        arguments: dtypes for tensors, None for those left out, and numbers.
        constants: the tl.constexpr parameters, num_warps and num_stages.
        target: backend, architecture and warp size.
        folder: Triton's cache.
    """

    module: str
    name: str
    arguments: Sequence[torch.dtype | float | None]
    constants: dict[str, object]
    target: tuple[str, int, int]
    folder: str


class Described:
    """What Triton asks a driver for before a launch, of a GPU that need not be there."""

    def __init__(self, target: GPUTarget) -> None:
        self._target = target

    def get_current_target(self) -> GPUTarget:
        """What is compiled for."""
        return self._target

    def get_current_device(self) -> int:
        """Its number."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """That of a launch."""
        return 0


def compile_for(job: Job) -> None:
    """Compile a variant into Triton's cache."""
    kernel = getattr(import_module(job.module), job.name)
    before = driver._active  # to ask for it would begin to look for GPUs
    driver.set_active(Described(GPUTarget(*job.target)))
    try:
        with knobs.cache.scope():
            knobs.cache.dir = job.folder
            kernel.warmup(*job.arguments, grid=(1,), **job.constants)
    finally:
        driver._active = before


def settle() -> None:
    """Settle what a cached kernel is found by, before the compiler's processes begin.

    PyTorch names another assembler to them than Triton takes here; and, once it loads a first
    kernel of its own, another folder to all.
    """
    from torch._inductor.runtime.cache_dir_utils import triton_cache_dir

    os.environ.setdefault("TRITON_CACHE_DIR", triton_cache_dir(0))  # one for all GPUs
    try:
        assembler = knobs.nvidia.ptxas.path
    except RuntimeError:  # there is none: what needs one will say so
        return
    os.environ.setdefault("TRITON_PTXAS_PATH", assembler)


def processes() -> Any | None:
    """Return the compiler's processes, if there are any; not for several threads at once."""
    compiler = sys.modules.get("torch._inductor.async_compile")
    if compiler is None or compiler.get_compile_threads() <= 1:
        return None
    settle()
    return compiler.AsyncCompile.process_pool()


def begin(
    pool: Any, kernel: Any, arguments: tuple[Any, ...], constants: dict[str, object]
) -> Future:
    """Have one of the compiler's processes compile for the current GPU."""
    target = driver.active.get_current_target()
    job = Job(
        kernel.fn.__module__,
        kernel.fn.__name__,
        arguments,
        constants,
        (target.backend, target.arch, target.warp_size),
        knobs.cache.dir,
    )
    begun: Future = pool.submit(compile_for, job)
    return begun
