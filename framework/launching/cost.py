"""What a launch costs: hours from what was timed before, disk from the size of the networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from framework.errors import UserError
from framework.launching import outcomes
from framework.launching.decisions import Decision
from framework.probing.probe import Findings, Sizes

LEAST_STEPS = 10  # fewer say little: the first ones compile, tune and allocate


@dataclass(frozen=True)
class Cost:
    """The cost of the runs that a launch would start.

    `hours` are of GPUs where runs have some, of runs (one at a time) elsewhere; None where nothing
    was timed. `source` says what they are estimated from; `disk` is in bytes.
    """

    hours: float | None
    unit: str
    source: str
    disk: int
    runs: int

    def __str__(self) -> str:
        """Return one line for the user."""
        time = "hours unknown" if self.hours is None else f"about {self.hours:.3g} {self.unit}"
        return f"cost: {time} ({self.source}); {_size(self.disk)} of checkpoints"

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
    devices = [_devices(decision) for decision in todo]
    unit = "GPU hours" if any(devices) else "hours of runs"
    rates, source = _timed(grid, decisions), "from former runs of it"
    if not rates and found is not None and not any(devices):
        rates = {
            arm: seconds * sizes[arm].batch_ratio for arm, seconds in found.step_seconds.items()
        }
        small = found.shrunk and ", which grid.probe shrinks: a lower bound"
        source = f"from the probe's updates on one core, without evaluations{small or ''}"
    if not rates:
        return Cost(None, unit, "no run of this grid was timed yet", disk, len(todo))
    usual = median(rates.values())
    seconds = sum(
        (1 if decision.fresh else _share_left(decision))
        * decision.cell.steps
        * _rate(rates, decision, usual)
        * max(1, count)
        for decision, count in zip(todo, devices, strict=True)
    )
    return Cost(seconds / 3600, unit, source, disk, len(todo))


def _share_left(decision: Decision) -> float:
    return max(0.0, 1 - decision.step / decision.cell.steps)


def _rate(rates: Mapping[str, float], decision: Decision, usual: float) -> float:
    """Return seconds a step: the run's own, its arm's, or the grid's."""
    cell = decision.cell
    return rates.get(cell.identity[:8], rates.get(cell.arm, usual))


def _devices(decision: Decision) -> int:
    """Return how many GPUs a run has."""
    resources, device = decision.cell.resources, decision.cell.resolved.settings["train.device"]
    asked = resources.nodes * resources.gpus
    here = device != "cpu" and torch.cuda.is_available()
    return asked or int(here or str(device).startswith("cuda")) * resources.processes_per_run


def _timed(grid: Path, decisions: Iterable[Decision]) -> dict[str, float]:
    """Return the seconds a step of former runs, by identity and by arm."""
    wanted = {d.cell.identity[:8]: d.cell.arm for d in decisions}
    rates: dict[str, float] = {}
    of_arm: dict[str, list[float]] = {}
    for run in _run_folders(grid.absolute().parent):
        identity = run.name.rpartition("-")[2]
        if identity in wanted:
            beat = outcomes.read(run)
            steps, seconds = beat.get("step") or 0, beat.get("seconds") or 0.0
            if steps >= LEAST_STEPS and seconds > 0:
                rates[identity] = seconds / steps
                of_arm.setdefault(wanted[identity], []).append(seconds / steps)
    return rates | {arm: median(own) for arm, own in of_arm.items()}


def _run_folders(runs: Path) -> list[Path]:
    """Return the folders runs/GRID/ARM/seed=K-IDENTITY."""
    return list(runs.glob("[!.]*/[!.]*/seed=*-*"))


def _size(count: int) -> str:
    power = min(3, int(math.log(max(count, 1), 1000)))
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"
