"""Probes every distinct arm of a grid, in processes of their own, and judges what they did."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from framework.errors import UserError
from framework.grid.plan import Cell, Plan
from framework.probing import workers
from framework.probing.declared import differing, kinds_of
from framework.probing.measuring import Measured, measure
from framework.probing.shrinking import shrink
from framework.probing.verdicts import Probed, refusals
from framework.probing.workers import Failure
from framework.training.experiment import Experiment

PARALLEL = 2  # processes at a time


@dataclass(frozen=True)
class Findings:
    """What a probe found in a grid with which nothing is wrong.

    `differs` is, for each arm, the first group in which it differs from the baseline;
    `step_seconds` what one small update took on one core.
    """

    differs: Mapping[str, str]
    step_seconds: Mapping[str, float]
    runs: int
    seconds: float
    cpu_seconds: float


def check(planned: Plan, done: Callable[[int], None] | None = None) -> None:
    """Build each distinct run at full size and without memory.

    Raises:
        UserError: a component refuses its settings; the message names the arm.
    """
    cells = _distinct(planned.cells)
    results = workers.each(_build, cells, PARALLEL, done)
    for cell, result in zip(cells, results, strict=True):
        if isinstance(result, Failure):
            raise UserError(f"arm '{cell.arm}': {result.why}")


def probe(planned: Plan, done: Callable[[int], None] | None = None) -> Findings:
    """Train each distinct arm for three small updates and compare what they did.

    What `grid.tune` tries is probed on the baseline.

    Args:
        planned: The grid.
        done: Told after each probe how many are done.

    Raises:
        UserError: an arm fails, equals another, or changes what it does not declare.
    """
    began, cpu = time.monotonic(), _cpu_seconds()
    probed = probe_all(planned, done)
    baseline = baseline_of(planned, probed)
    wrong = refusals(probed, baseline)
    if wrong:
        more = f"\n(and {len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0]}{more}")
    return Findings(
        differs={one.arm: _first_difference(one, baseline) for one in reversed(probed)},
        step_seconds={one.arm: one.step_seconds for one in reversed(probed) if one.fingerprint},
        runs=len(probed),
        seconds=time.monotonic() - began,
        cpu_seconds=_cpu_seconds() - cpu,
    )


def probe_all(planned: Plan, done: Callable[[int], None] | None = None) -> list[Probed]:
    """Return what the probe of each distinct arm did.

    Raises:
        UserError: `grid.probe` cannot be bound.
    """
    cells = _probed(planned)
    runs = [cell.resolved for cell in cells]
    kinds = {
        kind for run in runs[1:] for kind in kinds_of(run, differing(run, runs[0]))
    }  # what is too slow to be looked at unless arms differ there
    work = partial(measure, scored="metric" in kinds, data="dataset" in kinds)
    results = workers.each(work, shrink(runs, planned.grid.probe), PARALLEL, done)
    return [_probed_cell(planned, *pair) for pair in zip(cells, results, strict=True)]


def baseline_of(planned: Plan, probed: Sequence[Probed]) -> Probed:
    """Return the baseline's probe."""
    return next(one for one in probed if one.arm == planned.baseline)


def _build(cell: Cell) -> None:
    Experiment.build(cell.resolved).check()


def _distinct(cells: Sequence[Cell]) -> list[Cell]:
    """Return one cell for each arm and each thing that it tries: seeds share a check."""
    first: dict[tuple[str, tuple[tuple[str, str], ...]], Cell] = {}
    for cell in cells:
        first.setdefault((cell.arm, tuple(cell.tuned.items())), cell)
    return list(first.values())


def _probed(planned: Plan) -> list[Cell]:
    """Return the first of what each arm tries, and all that the baseline tries."""
    seen: set[str] = set()
    chosen = []
    for cell in _distinct(planned.cells):
        if cell.arm == planned.baseline or cell.arm not in seen:
            seen.add(cell.arm)
            chosen.append(cell)
    return chosen


def _probed_cell(planned: Plan, cell: Cell, result: Measured | Failure) -> Probed:
    equivalent = {
        name for axis in planned.grid.equivalent for name in planned.grid.zips.get(axis, (axis,))
    }
    arm = next(arm for arm in planned.arms if arm.name == cell.arm)
    family = {k: v for k, v in {**arm.settings, **cell.tuned}.items() if k not in equivalent}
    tuned = ", ".join(f"{name} = {value}" for name, value in cell.tuned.items())
    if isinstance(result, Failure):
        return Probed(cell.arm, tuned, cell.resolved, family, None, result.why)
    return Probed(
        cell.arm, tuned, cell.resolved, family, result.fingerprint, "", result.step_seconds
    )


def _first_difference(one: Probed, baseline: Probed) -> str:
    if one.arm == baseline.arm:
        return ""
    if one.fingerprint is None or baseline.fingerprint is None:
        return f"not probed: {one.problem or baseline.problem}"
    groups = one.fingerprint.differing(baseline.fingerprint)
    return groups[0] if groups else "nothing (declared equivalent)"


def _cpu_seconds() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)
