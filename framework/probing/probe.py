"""Probes every distinct arm of a grid, in processes of their own, and judges what they did."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from framework.configuration import Resolved
from framework.errors import UserError
from framework.grid.plan import Cell, Plan
from framework.probing import workers
from framework.probing.declared import differing, kinds_of
from framework.probing.measuring import Measured, measure
from framework.probing.shrinking import BATCH, shrink
from framework.probing.verdicts import Probed, refusals
from framework.probing.workers import Each, Failure
from framework.training.checkpoints import KEPT
from framework.training.experiment import Experiment
from framework.training.memory import Memory, kernels_for_fakes, step_memory
from framework.training.trainer import as_module, construct_model

PARALLEL = 2  # processes at a time
OPTIMIZER_COPIES = 2  # AdamW's state; others keep less


@dataclass(frozen=True)
class Sizes:
    """How large a run is: the bytes of the checkpoints that it keeps, how many times the batch of
    its probe its own batch is, and what it needs of each of its GPUs, if it has any."""

    checkpoints: int
    batch_ratio: float
    memory: Memory | None = None


@dataclass(frozen=True)
class Findings:
    """What a probe found in a grid with which nothing is wrong.

    `differs` is, for each arm, the first group in which it differs from the baseline;
    `step_seconds` what one small update took on one core; `shrunk` says whether `grid.probe` made
    runs smaller than they are.
    """

    differs: Mapping[str, str]
    step_seconds: Mapping[str, float]
    shrunk: bool
    runs: int
    seconds: float


def check(
    planned: Plan,
    done: Callable[[int], None] | None = None,
    *,
    each: Each = workers.each,
    here: bool = True,
) -> dict[str, Sizes]:
    """Build each distinct run at full size and without memory; return the sizes by arm.

    Args:
        planned: The grid.
        done: Told after each run how many are done.
        each: What applies a function to runs, in a fork each.
        here: Whether the runs are to be made on this machine, which then has to have their device.

    Raises:
        UserError: a component refuses its settings; the message names the arm.
    """
    cells = _distinct(planned.cells)
    processes = {c.identity: c.resources.processes_per_run for c in cells if c.gpus}
    work = partial(_build, here=here, processes=processes)
    results = each(work, [cell.resolved for cell in cells], PARALLEL, done)
    sizes = {}
    for cell, result in zip(cells, results, strict=True):
        if isinstance(result, Failure):
            raise UserError(f"arm '{cell.arm}': {result.why}")
        sizes[cell.arm] = result
    return sizes


def probe(
    planned: Plan, done: Callable[[int], None] | None = None, *, each: Each = workers.each
) -> Findings:
    """Train each distinct arm for three small updates and compare what they did.

    What `grid.tune` tries is probed on the baseline.

    Args:
        planned: The grid.
        done: Told after each probe how many are done.
        each: What applies a function to runs, in a fork each.

    Raises:
        UserError: an arm fails, equals another, or changes what it does not declare.
    """
    began = time.monotonic()
    probed = probe_all(planned, done, each)
    baseline = baseline_of(planned, probed)
    wrong = refusals(probed, baseline)
    if wrong:
        more = f"\n(and {len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0]}{more}")
    return Findings(
        differs={one.arm: _first_difference(one, baseline) for one in reversed(probed)},
        step_seconds={one.arm: one.step_seconds for one in reversed(probed) if one.fingerprint},
        shrunk=bool(planned.grid.probe),
        runs=len(probed),
        seconds=time.monotonic() - began,
    )


def probe_all(
    planned: Plan, done: Callable[[int], None] | None = None, each: Each = workers.each
) -> list[Probed]:
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
    results = each(work, shrink(runs, planned.grid.probe), PARALLEL, done)
    return [_probed_cell(planned, *pair) for pair in zip(cells, results, strict=True)]


def baseline_of(planned: Plan, probed: Sequence[Probed]) -> Probed:
    """Return the baseline's probe."""
    return next(one for one in probed if one.arm == planned.baseline)


def _build(resolved: Resolved, here: bool, processes: Mapping[str, int]) -> Sizes:
    """Build a run on the meta device; `processes` share the batch of one that uses GPUs."""
    with kernels_for_fakes():
        experiment = Experiment.build(resolved)
        experiment.check(here=here)
        train = experiment.train
        with resolved.refusals():
            count = processes.get(resolved.identity)
            memory = step_memory(train, count) if count else None
            with torch.device("meta"):
                model = as_module(construct_model(train))
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    copies = 1 + OPTIMIZER_COPIES + len(train.loss.averages()) + 1  # the last: what is sampled from
    return Sizes(KEPT * copies * held, train.batch_size / min(train.batch_size, BATCH), memory)


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
    arm = next(arm for arm in planned.arms if arm.name == cell.arm)
    equivalent, bound = planned.points.equivalent, {**arm.settings, **cell.tuned}
    family = {name: value for name, value in bound.items() if name not in equivalent}
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
