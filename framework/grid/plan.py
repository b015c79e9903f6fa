"""The plan of a grid: every arm and cell, resolved and checked against each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from framework.configuration import (
    Binding,
    Configuration,
    Key,
    Resolved,
    Value,
    explain_unused,
    text,
    unreached,
)
from framework.configuration.parsing import COMMAND_LINE
from framework.errors import UserError
from framework.grid import ranking
from framework.grid.manifest import CellRecord, Manifest
from framework.grid.naming import BASELINE, check_name
from framework.grid.points import Point, Points, points
from framework.grid.resources import Resources
from framework.grid.settings import Grid

SEED = Key("", "train", "seed")


@dataclass(frozen=True)
class Arm:
    """One arm: its name and what it binds, in gin's syntax."""

    name: str
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    `directory` is relative to the grid's folder; `tuned` is what this run tries for its arm.
    """

    arm: str
    seed: int
    resolved: Resolved
    tuned: Mapping[str, str]
    resources: Resources

    @property
    def identity(self) -> str:
        """Return the identity of the run, 64 hexadecimal digits."""
        return self.resolved.identity

    @property
    def directory(self) -> str:
        """Return its folder below the grid's."""
        return f"{self.arm}/seed={self.seed}-{self.identity[:8]}"

    @property
    def gpus(self) -> int:
        """Return how many GPUs it trains on: those asked for, or one where its device is one."""
        device = str(self.resolved.settings["train.device"])
        here = device == "auto" and torch.cuda.is_available()
        own = int(here or device.startswith("cuda")) * self.resources.processes_per_run
        return self.resources.nodes * self.resources.gpus or own

    @property
    def steps(self) -> int:
        """Return how many steps it trains."""
        return int(self.resolved.settings["train.steps"])


@dataclass(frozen=True)
class Plan:
    """A grid whose every cell has been resolved.

    `doubt` says what about its ranking will only be known when runs are evaluated, if anything.
    """

    name: str
    grid: Grid
    arms: tuple[Arm, ...]
    baseline: str
    cells: tuple[Cell, ...]
    points: Points
    doubt: str = ""

    def manifest(self, command: str) -> Manifest:
        """Return the manifest of this grid, of which nothing was submitted yet."""
        grid = self.grid
        return Manifest(
            name=self.name,
            description=grid.description,
            metric=grid.metric,
            metric_nfe=grid.metric_nfe,
            baseline=self.baseline,
            seeds=grid.seed_list,
            axes={
                name: values
                for column in self.points.columns[: len(grid.axes)]
                for name, values in _lists(column).items()
            },
            zips=dict(zip(grid.zips, map(_lists, self.points.columns[len(grid.axes) :]))),
            equivalent=list(self.points.equivalent),
            arms=[{"name": arm.name, "settings": dict(arm.settings)} for arm in self.arms],
            cells=[
                CellRecord(c.arm, c.seed, c.identity, c.directory, dict(c.tuned))
                for c in self.cells
            ],
            command=command,
            created=time.time(),
        )


def plan(configuration: Configuration, name: str, command: str = "") -> Plan:
    """Return the plan of the grid that a configuration describes.

    Args:
        configuration: The base configuration with its `grid.*`.
        name: The grid's name where `grid.name` is not bound.
        command: What the user typed, for the runs' records.

    Raises:
        UserError: a cell cannot be resolved, or the grid does not hold together.
    """
    grid: Grid = configuration.read("grid")
    name = grid.name or name
    check_name(name, "grid.name")
    _check_seed(configuration, grid)
    found = points(configuration, grid)
    cells = _Cells(configuration, name, command, grid)
    baseline, arms = _with_baseline(found, cells)
    for arm, point in arms.items():
        cells.add(arm, point, found)
    cells.check()
    doubt = ranking.check(grid, ((cell.arm, cell.resolved) for cell in cells.cells))
    settings = {arm: _texts(point) for arm, point in arms.items()}
    if baseline == BASELINE:
        settings[BASELINE] = cells.values_of(BASELINE, found.varied) | settings[BASELINE]
    listed = tuple(Arm(arm, settings[arm]) for arm in arms)
    all_cells = tuple(cells.cells)
    return Plan(name, grid, listed, baseline, all_cells, found, doubt)


def _check_seed(configuration: Configuration, grid: Grid) -> None:
    """Refuse a `train.seed` that is bound, on the command line say, and that no run would have."""
    binding = configuration.bindings.get(SEED)
    seed = configuration.get("train.seed")
    if binding is not None and not binding.origin.included and seed not in grid.seed_list:
        seeds = ", ".join(map(str, grid.seed_list))
        raise UserError(
            f"{binding.origin}: train.seed = {text(seed)}, and grid.seeds has the grid train with "
            f"{seeds}: write grid.seeds = [{text(seed)}] instead"
        )


def _with_baseline(found: Points, cells: _Cells) -> tuple[str, dict[str, Point]]:
    """Return the baseline's name, and the arms with it among them."""
    first = found.tune[0]
    wanted = cells.resolve(BASELINE, found.baseline, first, "grid.baseline").identity
    for arm, point in found.arms.items():
        if cells.resolve(arm, point, first, found.origins[arm]).identity == wanted:
            return arm, dict(found.arms)
    return BASELINE, {BASELINE: found.baseline, **found.arms}


class _Cells:
    """Resolves cells, and sees to it that they differ and use what is bound."""

    def __init__(self, base: Configuration, name: str, command: str, grid: Grid) -> None:
        self.cells: list[Cell] = []
        self._base = base
        self._record = {
            "run.grid": name,
            "run.metric": grid.metric,
            "run.metric_nfe": grid.metric_nfe or 0,
            "run.command": command,
        }
        self._seeds = grid.seed_list
        self._unused: dict[Key, Binding] = {}
        self._used: set[Key] = set()
        self._replaced = base.bindings.keys() - {SEED}

    def resolve(
        self, arm: str, point: Point, tuned: Point, origin: str, seed: int | None = None
    ) -> Resolved:
        """Return one run; the seed is the first of the grid's unless given."""
        return self._resolve(arm, point, tuned, origin, seed)[1]

    def _resolve(
        self, arm: str, point: Point, tuned: Point, origin: str, seed: int | None
    ) -> tuple[Configuration, Resolved]:
        record: dict[str, Value] = {
            **self._record,
            "run.arm": arm,
            "run.varied": _texts({**point, **tuned}),
            "train.seed": self._seeds[0] if seed is None else seed,
        }
        configuration = self._base.with_bindings(point, origin).with_bindings(tuned, "grid.tune")
        bound = configuration.with_bindings(record, "the grid")
        resolved = bound.resolve(refuse_unused=False)
        self._used.update(key for key in bound.bindings if key not in resolved.unused)
        self._unused.update(resolved.unused)
        self._replaced -= {k for k, b in self._base.bindings.items() if bound.bindings[k] is b}
        return bound, resolved

    def add(self, arm: str, point: Point, found: Points) -> None:
        """Resolve the cells of one arm.

        Raises:
            UserError: it cannot be resolved, or uses nowhere what `grid.arms` binds for it alone.
        """
        origin = found.origins.get(arm, "grid.baseline")
        idle = set(found.own.get(arm, ()))
        for tuned in found.tune:
            for seed in self._seeds:
                bound, resolved = self._resolve(arm, point, tuned, origin, seed)
                resources = bound.read("launch")
                self.cells.append(Cell(arm, seed, resolved, _texts(tuned), resources))
                idle &= {str(key) for key in resolved.unused}
        if idle:
            unused = {key: b for key, b in resolved.unused.items() if str(key) in idle}
            raise UserError(explain_unused(unused, resolved.nodes))

    def check(self) -> None:
        """Refuse cells of one identity, and bindings that no cell uses or that none has.

        Raises:
            UserError: there are some; the message names them.
        """
        unused = {key: b for key, b in self._unused.items() if key not in self._used}
        unused = unreached(self._base, unused)
        if unused:
            raise UserError(explain_unused(unused, self.cells[0].resolved.nodes))
        for key in sorted(self._replaced):
            if self._base.bindings[key].origin.file == COMMAND_LINE:
                raise UserError(
                    f"{COMMAND_LINE}: {key}: the grid binds it itself in every arm, the baseline "
                    "included: remove it here or there"
                )
        seen: dict[str, Cell] = {}
        for cell in self.cells:
            other = seen.setdefault(cell.identity, cell)
            if other is not cell:
                raise UserError(_identical(other, cell))

    def values_of(self, arm: str, names: tuple[str, ...]) -> dict[str, str]:
        """Return what an arm has where others differ, as far as it uses that."""
        settings = next(cell.resolved.settings for cell in self.cells if cell.arm == arm)
        return {name: text(settings[name]) for name in names if name in settings}


def _identical(one: Cell, other: Cell) -> str:
    if one.arm == other.arm:
        differ = [name for name, value in one.tuned.items() if other.tuned[name] != value]
        idle = [name for name in differ if name not in one.resolved.settings]
        if idle:
            return (
                f"grid.tune: '{one.arm}' does not use {', '.join(idle)}: give that arm a grid of "
                "its own, with what it can tune"
            )
        tuned = " and ".join(str(dict(cell.tuned)) for cell in (one, other))
        return f"grid.tune: {tuned} give '{one.arm}' the same configuration: remove one"
    return (
        f"the arms '{one.arm}' and '{other.arm}' are the same configuration: what they bind makes "
        "no difference; remove one, or bind what the run uses"
    )


def _lists(column: Sequence[Point]) -> dict[str, list[str]]:
    """Return the values of each binding of an axis or a zip, in order."""
    return {name: [text(point[name]) for point in column] for name in column[0]}


def _texts(point: Mapping[str, Value]) -> dict[str, str]:
    return {name: text(value) for name, value in point.items()}
