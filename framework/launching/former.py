"""What former runs of the same kind took: seconds a step, and memory of their device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from framework.launching.decisions import Decision
from framework.runs import outcomes

LEAST_STEPS = 10  # fewer say little: the first ones compile, tune and allocate


@dataclass(frozen=True)
class Former:
    """Seconds a step and bytes at the worst moment of one, by identity (8 digits) and by arm."""

    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)


def read(grid: Path, decisions: Iterable[Decision]) -> Former:
    """Return what runs with the identities of some cells took, in any grid beside this one."""
    arm_of = {d.cell.identity[:8]: d.cell.arm for d in decisions}
    found = Former()
    of_arm: dict[str, list[float]] = {}
    for run in grid.absolute().parent.glob("[!.]*/[!.]*/seed=*-*"):
        identity = run.name.rpartition("-")[2]
        arm = arm_of.get(identity)
        if arm is None:
            continue
        beat = outcomes.read(run)
        steps, seconds, memory = (beat.get(n) or 0 for n in ("step", "seconds", "memory"))
        if steps >= LEAST_STEPS and seconds > 0:
            found.seconds[identity] = seconds / steps
            of_arm.setdefault(arm, []).append(seconds / steps)
        if memory:
            found.memory[identity] = memory
            found.memory[arm] = max(memory, found.memory.get(arm, 0))
    found.seconds.update({arm: median(own) for arm, own in of_arm.items()})
    return found
