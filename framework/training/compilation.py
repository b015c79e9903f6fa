"""Compiled training steps: torch.compile block by block, one compilation for all blocks."""

from __future__ import annotations

import logging

import torch

from framework.passes import Passes, block_forward, block_jvp
from framework.protocols import Batch
from framework.training.trainer import Trainer

log = logging.getLogger(__name__)


def compiled_passes() -> Passes:
    """Return passes whose block functions are compiled as whole graphs at their first call.

    `torch.func.jvp` stays inside the compiled function: around a compiled module it is refused.
    """
    return Passes(
        block_forward=torch.compile(block_forward, fullgraph=True, dynamic=False),
        block_jvp=torch.compile(block_jvp, fullgraph=True, dynamic=False),
    )


def compile_steps(trainer: Trainer, batch: Batch) -> None:
    """Let the trainer run compiled passes, or plain ones, with a warning, if they cannot be.

    The batch is only tried on: forward and backward are compiled before the first update.
    """
    trainer.use(compiled_passes())
    try:
        trainer.try_step(batch)
    except RuntimeError as error:  # what every stage of the compiler raises
        trainer.use(Passes())
        trainer.try_step(batch)  # an error that plain passes share is not the compiler's
        log.warning("train.compile: going on without, since compiling failed: %s", _cause(error))


def _cause(error: RuntimeError) -> str:
    """Return the compiler's complaint in one line, with the code that it stumbled over."""
    stack = getattr(error, "real_stack", None)  # dynamo's errors know the user's frames
    where = f" at {stack[-1].filename}:{stack[-1].lineno}" if stack else ""
    return f"{str(error).strip().splitlines()[0]}{where}"
