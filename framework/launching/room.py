"""Whether runs fit into the memory of the GPU that they are to get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from framework.errors import UserError
from framework.grid.plan import Cell
from framework.grid.resources import Resources
from framework.launching.decisions import Decision
from framework.launching.former import Former
from framework.probing.probe import Sizes
from framework.training.memory import Memory

MIB, GIB = 2**20, 2**30
SMALLER = "raise train.accumulation, or set train.checkpointing = 1"


@dataclass(frozen=True)
class Need:
    """What the runs of one arm need of each GPU, in bytes; `peak` 0 is not known.

    `recorded` says that a former run measured it. `room` is what the GPU has, 0 where nobody said.
    """

    arm: str
    held: int
    peak: int
    recorded: bool
    room: int

    def __str__(self) -> str:
        """Return 'about 62.1 GiB of GPU memory (estimated, uncompiled)'."""
        if not self.peak:
            return f"at least {_size(self.held)} of GPU memory (activations unknown)"
        how = "measured in a former run" if self.recorded else "estimated, uncompiled"
        return f"{'' if self.recorded else 'about '}{_size(self.peak)} of GPU memory ({how})"

    def check(self) -> str:
        """Return a warning if the runs may not fit, or an empty string.

        Raises:
            UserError: what they keep between steps alone does not fit.
        """
        if self.room and self.held > self.room:
            raise UserError(
                f"arm '{self.arm}': weights, optimizer state and averages alone take "
                f"{_size(self.held)}, and its GPU has {_size(self.room)} (launch.gpu_memory): ask "
                "for a larger one, or make the network smaller"
            )
        if self.room and self.peak > self.room:
            return f"arm '{self.arm}' needs {self}, and its GPU has {_size(self.room)}: {SMALLER}"
        return ""


def needs(decisions: Sequence[Decision], sizes: Mapping[str, Sizes], former: Former) -> list[Need]:
    """Return what the arms that are to run need, those whose sizes name a device's memory.

    What a former run measured counts before what was estimated.
    """
    first: dict[str, Cell] = {}
    for decision in decisions:
        if decision.run:
            first.setdefault(decision.cell.arm, decision.cell)
    found = []
    for arm, cell in first.items():
        memory: Memory | None = sizes[arm].memory
        if memory is None:
            continue
        recorded = former.memory.get(cell.identity[:8], former.memory.get(arm, 0))
        peak = recorded or memory.peak or 0
        found.append(Need(arm, memory.held, peak, bool(recorded), room_of(cell.resources)))
    return found


def room_of(resources: Resources) -> int:
    """Return the memory of the GPU that a run is to get: as asked for, or as this machine has."""
    if resources.gpu_memory is not None:
        return resources.gpu_bytes
    asked = bool(resources.gpus)  # of another machine, as far as anyone knows
    if asked or not torch.cuda.is_available():
        return 0
    return min(
        torch.cuda.get_device_properties(index).total_memory
        for index in range(torch.cuda.device_count())
    )


def _size(count: int) -> str:
    return f"{count / GIB:.3g} GiB" if count >= GIB else f"{count / MIB:.3g} MiB"
