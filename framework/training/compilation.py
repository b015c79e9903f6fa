"""Compiled training steps: torch.compile block by block, one compilation for all blocks.

Embedding and head stay eager unless asked otherwise: they are one per cent of the time of a deep
network, if more than half of a small one's kernels, and the time to compile grows by theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch._functorch import config as functorch_config

from framework.errors import UserError
from framework.passes import (
    Passes,
    block_forward,
    block_jvp,
    block_pair,
    embed,
    embed_jvp,
    head,
    head_jvp,
)
from framework.protocols import Batch, has_blocks
from framework.training.trainer import Trainer

log = logging.getLogger(__name__)

SHALLOW = 8  # blocks up to which a step is bound by its number of kernels


def compiled_passes(
    backend: str | Callable[..., Any] = "inductor", *, pairs: bool = False, ends: bool = False
) -> Passes:
    """Return passes whose functions are compiled as whole graphs at their first call.

    What earlier passes compiled is forgotten: PyTorch counts graphs by function, and after a few
    networks in one process would compile no more. `torch.func.jvp` stays inside the compiled
    function: around a compiled module it is refused.

    Args:
        backend: compiles the graphs.
        pairs: let the velocity's pass go along with the jump's, block by block. Counted at XL/2,
            a step moves 18 GB less of weights and their gradients, some 4 ms of an H200.
        ends: compile embedding and head too: of a step's kernels 790 become some 60, in up to six
            more graphs.
    """
    torch.compiler.reset()
    whole = partial(torch.compile, fullgraph=True, dynamic=False, backend=backend)
    passes = Passes(
        block_forward=whole(block_forward),
        block_jvp=whole(block_jvp),
        block_pair=whole(block_pair),
        alike=True,
        pairs=pairs,
    )
    if not ends:
        return passes
    return replace(
        passes,
        embed=whole(embed),
        embed_jvp=whole(embed_jvp),
        head=whole(head),
        head_jvp=whole(head_jvp),
    )


def compile_steps(
    trainer: Trainer, batch: Batch, *, pairs: bool = False, ends: bool = False
) -> bool:
    """Let the trainer run compiled passes, or plain ones, with a warning, if they cannot be.

    The batch is only tried on: forward and backward are compiled before the first update. `pairs`
    and `ends` are those of `compiled_passes`.

    Returns:
        whether the passes are compiled.
    """
    if not has_blocks(trainer.model):
        log.warning(
            "train.compile: %s comes without blocks, and runs as it is",
            type(trainer.model).__name__,
        )
        return False
    trainer.use(compiled_passes(pairs=pairs, ends=ends))
    try:
        with recompute_all_but_products():
            trainer.try_step(batch)
    except RuntimeError as error:  # what every stage of the compiler raises
        if trainer.lies_in_shards:
            raise UserError(
                "train.compile: compiling failed, and a pass through weights in shards cannot be "
                f"taken back: {_cause(error)}; set train.compile = False"
            ) from error
        trainer.use(Passes())
        trainer.try_step(batch)  # an error that plain passes share is not the compiler's
        log.warning("train.compile: going on without, since compiling failed: %s", _cause(error))
        return False
    return True


def is_shallow(model: nn.Module) -> bool:
    """Return whether a network has so few blocks that `pairs` and `ends` are worth their compiling.

    Measured on an H200 at 3 blocks of size 48: 916 kernels a step become 502, 1.8 ms become 1.3.
    """
    return has_blocks(model) and len(model.blocks) <= SHALLOW


def recompute_all_but_products() -> AbstractContextManager[None]:
    """Compile so that the backward pass keeps the results of matrix products and attention only.

    Everything else is elementwise or a reduction over a token: the backward pass's own kernels
    compute it again from what they read anyway. A block of the paper's XL/2 then keeps 364 MiB of
    its 32 images with their tangents instead of 842.
    """
    settings: dict[str, float] = {
        "aggressive_recomputation": True,
        "is_non_builtin_to_include": True,
    }
    if not all(hasattr(functorch_config, name) for name in settings):
        settings = {"activation_memory_budget": 0.99}  # as far as it goes without custom kernels
    patched: AbstractContextManager[None] = functorch_config.patch(settings)
    return patched


def _cause(error: RuntimeError) -> str:
    """Return the compiler's complaint in one line, with the code that it stumbled over."""
    stack = getattr(error, "real_stack", None)  # dynamo's errors know the user's frames
    where = f" at {stack[-1].filename}:{stack[-1].lineno}" if stack else ""
    return f"{str(error).strip().splitlines()[0]}{where}"
