"""Compiled passes: torch.compile block by block, one compilation for all blocks of a network."""

from __future__ import annotations

import torch

from framework.passes import Passes, block_forward, block_jvp


def compiled_passes() -> Passes:
    """Return passes whose block functions are compiled as whole graphs at their first call.

    `torch.func.jvp` stays inside the compiled function: around a compiled module it is refused.
    """
    return Passes(
        block_forward=torch.compile(block_forward, fullgraph=True, dynamic=False),
        block_jvp=torch.compile(block_jvp, fullgraph=True, dynamic=False),
    )
