"""What a launch costs: hours from what was timed before, disk and memory from the networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from framework.errors import UserError
from framework.launching import former, room
from framework.launching.decisions import Decision
from framework.launching.room import Need
from framework.probing.probe import Findings, Sizes


@dataclass(frozen=True)
class Cost:
    """The cost of the runs that a launch would start.

    `hours` are of GPUs where runs have some, of runs (one at a time) elsewhere; None where nothing
    was timed. `source` says what they are estimated from; `disk` is in bytes; `memory` is what
    each arm needs of its GPUs.
    """

    hours: float | None
    unit: str
    source: str
    disk: int
    runs: int
    memory: Sequence[Need] = ()

    def __str__(self) -> str:
        """Return one line for the user."""
        time = "hours unknown" if self.hours is None else f"about {self.hours:.3g} {self.unit}"
        most = max(self.memory, key=lambda need: need.peak or need.held, default=None)
        memory = f"; {most} in '{most.arm}', the largest" if most else ""
        return f"cost: {time} ({self.source}); {_size(self.disk)} of checkpoints{memory}"

    def warnings(self) -> list[str]:
        """Return a line for each arm that may not fit on its GPU.

        Raises:
            UserError: one cannot.
        """
        return [warning for need in self.memory if (warning := need.check())]

    def check(self, budget: float) -> None:
        """Refuse a launch that costs more than a budget of hours, or nobody knows how much.

        Raises:
            UserError: it does.
        """
        if self.hours is None:
            raise UserError(
                f"--budget {budget:g}: {self.source}: let one seed run first, or leave --budget out"
            )
        if self.hours > budget:
            raise UserError(
                f"--budget {budget:g}: the {self.runs} runs to start need about {self.hours:.3g} "
                f"{self.unit} ({self.source}): raise it, or leave arms or seeds out"
            )


def estimate(
    grid: Path, decisions: Sequence[Decision], sizes: Mapping[str, Sizes], found: Findings | None
) -> Cost:
    """Return what the cells that a launch would run cost.

    Their rate is that of former runs: of the same run in any grid beside this one, else of the
    same arm, else of this grid. Without any, and where runs train on a CPU, it is that of the
    probe's updates, times the batch that the probe made smaller. Evaluations are in the former
    and not in the latter.
    """
    todo = [decision for decision in decisions if decision.run]
    disk = sum(sizes[decision.cell.arm].checkpoints for decision in todo)
    devices = [decision.cell.gpus for decision in todo]
    unit = "GPU hours" if any(devices) else "hours of runs"
    known = former.read(grid, decisions)
    memory = room.needs(decisions, sizes, known)
    rates, source = known.seconds, "from former runs of it"
    if not rates and found is not None and not any(devices):
        rates = {
            arm: seconds * sizes[arm].batch_ratio for arm, seconds in found.step_seconds.items()
        }
        small = found.shrunk and ", which grid.probe shrinks: a lower bound"
        source = f"from the probe's updates on one core, without evaluations{small or ''}"
    if not rates:
        return Cost(None, unit, "no run of this grid was timed yet", disk, len(todo), memory)
    usual = median(rates.values())
    seconds = sum(
        (1 if decision.fresh else _share_left(decision))
        * decision.cell.steps
        * _rate(rates, decision, usual)
        * max(1, count)
        for decision, count in zip(todo, devices, strict=True)
    )
    return Cost(seconds / 3600, unit, source, disk, len(todo), memory)


def _share_left(decision: Decision) -> float:
    return max(0.0, 1 - decision.step / decision.cell.steps)


def _rate(rates: Mapping[str, float], decision: Decision, usual: float) -> float:
    """Return seconds a step: the run's own, its arm's, or the grid's."""
    cell = decision.cell
    return rates.get(cell.identity[:8], rates.get(cell.arm, usual))


def _size(count: int) -> str:
    power = min(3, int(math.log(max(count, 1), 1000)))
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"
