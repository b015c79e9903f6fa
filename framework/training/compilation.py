"""Compiled steps and samples: torch.compile block by block, one compilation for all blocks.

Embedding and head are compiled too: on an H100 they take 3 % of a step of B/2 if they are not, and
more than half of a small network's launches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.garbage import uncollected
from framework.passes import (
    Passes,
    block_forward,
    block_jvp,
    block_pair,
    embed,
    embed_jvp,
    embed_pair,
    head,
    head_jvp,
    head_pair,
)
from framework.protocols import Batch, Tokens, has_blocks
from framework.training.graph_kept import Kept
from framework.training.sampling import field_of
from framework.training.settings import Train
from framework.training.trainer import Trainer

log = logging.getLogger(__name__)

WORTH_COMPILING = 20_000
"""Evaluations of a network for samples: compiling takes seconds, and saves parts of a millisecond
each."""


@contextmanager
def compiler_starting() -> Iterator[None]:
    """Let the compiler get ready while the context lasts: it takes seconds, mostly of waiting."""
    import_module("torch._dynamo")  # here: who builds a network may meet it, and must find it whole
    starting = Thread(target=_start_compiler, name="compiler")
    starting.start()
    try:
        yield
    finally:
        starting.join()


def _start_compiler() -> None:
    """Start the compiler's processes, and build the library through which Triton reaches the GPU.

    The processes start from a fingerprint of Triton's files; the library is built by a C compiler.
    """
    from torch._inductor.async_compile import maybe_warm_pool  # takes a second to import

    if torch.cuda.is_available():
        from kernels.apart import settle

        settle()
    maybe_warm_pool()
    import_module("framework.training.lean_graphs")  # needed next, and all that it imports
    if torch.cuda.is_available():
        from triton.runtime import driver

        driver.active.get_current_device()


def compiled_passes(backend: str | Callable[..., Any] = "inductor") -> Passes:
    """Return passes whose functions `backend` compiles as whole graphs at their first call.

    What earlier passes compiled is forgotten: PyTorch counts graphs by function, and after a few
    networks in one process would compile no more. `torch.func.jvp` stays inside the compiled
    function: around a compiled module it is refused.
    """
    torch.compiler.reset()
    whole = partial(torch.compile, fullgraph=True, dynamic=False, backend=backend)
    return Passes(
        block_forward=whole(block_forward),
        block_jvp=whole(block_jvp),
        block_pair=whole(block_pair),
        embed=whole(embed),
        embed_jvp=whole(embed_jvp),
        head=whole(head),
        head_jvp=whole(head_jvp),
        embed_pair=whole(embed_pair),
        head_pair=whole(head_pair),
        alike=True,
    )


def compile_steps(trainer: Trainer, batch: Batch) -> bool:
    """Let the trainer run compiled passes, or plain ones, with a warning, if they cannot be.

    The batch is only tried on: forward and backward are compiled before the first update. Processes
    do so each for itself, and then all compile or none.

    Returns:
        whether the passes are compiled.

    Raises:
        UserError: they cannot be, and weights lie in shards.
    """
    if not has_blocks(trainer.model):
        log.warning(
            "train.compile: %s comes without blocks, and runs as it is",
            type(trainer.model).__name__,
        )
        return False
    settings = trainer.settings

    def attempt() -> None:
        trainer.use(compiled_passes())
        trainer.try_step(batch)

    # A pass through weights in shards cannot be taken back, and is tried but once.
    combining = (False,) if trainer.lies_in_shards else (True, False)
    kept = Kept(settings.keep_heads, settings.keep_weights)
    failure = _failure(attempt, kept, combining)
    if failure and trainer.lies_in_shards:
        raise UserError(
            "train.compile: compiling failed, and a pass through weights in shards cannot be "
            f"taken back: {failure}; set train.compile = False"
        )
    failure = next((each for each in trainer.world.everyones(failure) if each), "")
    if failure:
        trainer.use(Passes())
        trainer.try_step(batch)  # an error that plain passes share is not the compiler's
        log.warning("train.compile: going on without, since compiling failed: %s", failure)
    return not failure


def _failure(
    attempt: Callable[[], object], kept: Kept, combining: Sequence[bool] = (True, False)
) -> str:
    """Attempt what compiles, with small kernels combined or not; return why it cannot be, or "".

    An error would hold what the attempt had in memory while the next one runs. To look for garbage
    among the compiler's objects would take a seventh of its time.
    """
    from torch._dynamo import config  # imports the compiler: a second
    from torch._dynamo.exc import Unsupported

    from framework.training.lean_graphs import lean_graphs

    failure = ""
    for combined in combining:
        try:
            with (
                lean_graphs(*kept, combined),
                config.patch(run_gc_after_compile=False),
                uncollected(),
            ):
                attempt()
            return ""
        except RuntimeError as error:  # what every stage of the compiler raises
            failure = _cause(error)
            if isinstance(_behind(error), torch.OutOfMemoryError | Unsupported):
                break  # kernels had no part in that
            if combined:
                log.info("train.compile: kernels are not combined: %s", failure)
    return failure


def sampling_passes(
    network: nn.Module, train: Train, device: torch.device, batch_size: int, evaluations: int
) -> Passes:
    """Return passes for drawing samples: compiled, if the run trains so and it is worth it.

    Only whole batches of `batch_size` run compiled, which is tried here; the last, smaller one runs
    as it is. That costs less than another compilation.

    Args:
        network: a network of the run, any of its averages.
        evaluations: how many are to be made of it.
    """
    in_blocks = has_blocks(network)
    if not (train.compile and in_blocks and evaluations >= WORTH_COMPILING):
        return Passes()
    compiled = torch.compile(block_forward, fullgraph=True, dynamic=False)

    def in_whole_batches(block: nn.Module, tokens: Tokens, condition: Tensor) -> Tokens:
        run = compiled if len(condition) == batch_size else block_forward
        return run(block, tokens, condition)

    passes = Passes(block_forward=in_whole_batches)
    field = field_of(network, train, device, passes)
    x = torch.zeros(batch_size, *train.dataset.shape, device=device)
    t = torch.ones(batch_size, device=device)

    @torch.no_grad()
    def attempt() -> None:
        field.velocity(x, t, torch.zeros_like(t, dtype=torch.long), t)

    if failure := _failure(attempt, Kept()):
        log.warning("train.compile: sampling without, since compiling failed: %s", failure)
        return Passes()
    return passes


def _behind(error: Exception) -> Exception:
    """Return what a part of the compiler raised, without what says which part that was."""
    return getattr(error, "inner_exception", error)


def _cause(error: RuntimeError) -> str:
    """Return the compiler's complaint in one line, with the code that it stumbled over."""
    stack = getattr(error, "real_stack", None)  # dynamo's errors know the user's frames
    where = f" at {stack[-1].filename}:{stack[-1].lineno}" if stack else ""
    behind = _behind(error)
    complaint = str(behind).strip() or type(behind).__name__
    return f"{complaint.splitlines()[0]}{where}"
