"""What a gin file says of a grid: `grid.*`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from framework.configuration import text
from framework.configuration.roots import register_root
from framework.errors import UserError
from framework.grid.claims import Claim
from framework.settings import NonNegativeInt, PositiveInt

Bindings = dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """Which runs a grid has, and how they are compared.

    Values are what stands right of `=` in gin, as data.

    Args:
        name: The grid's name; its folder is runs/NAME. None: the name of the gin file.
        description: One line for reports.
        axes: {binding: [values]}; the grid is their product.
        zips: {name: {binding: [values], ...}}: bindings that move together, crossed with the axes.
        arms: {name: {binding: value, ...}}: one at a time against the baseline.
        exclude: Partial cells, {binding: value, ...} each, to leave out of the product.
        seeds: How many (0, 1, ...), or which.
        baseline: The arm that others are compared with; without it, the base configuration.
        metric: What the report ranks by.
        metric_nfe: At how many network evaluations; None where the metric has none.
        probe: Bindings that shrink a cell for checking it.
        equivalent: Axes that change cost and not mathematics: their cells have to agree.
        tune: {binding: [values]} tried for every arm before arms are compared.
        claims: What the grid is expected to show, see `framework.grid.claims`.

    Raises:
        UserError: a field has the wrong form; the message says which.
    """

    name: str | None = None
    description: str = ""
    axes: Bindings = field(default_factory=dict)
    zips: dict[str, Any] = field(default_factory=dict)
    arms: dict[str, Any] = field(default_factory=dict)
    exclude: list[Any] = field(default_factory=list)
    seeds: PositiveInt | list[NonNegativeInt] = 1
    baseline: Bindings = field(default_factory=dict)
    metric: str = "fd"
    metric_nfe: PositiveInt | None = None
    probe: Bindings = field(default_factory=dict)
    equivalent: list[str] = field(default_factory=list)
    tune: Bindings = field(default_factory=dict)
    claims: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check_lists("axes", self.axes)
        _check_lists("tune", self.tune)
        for name, columns in self.zips.items():
            _check_zip(name, columns)
        for name, bindings in self.arms.items():
            if not isinstance(bindings, Mapping):
                raise UserError(
                    f"grid.arms[{name!r}] needs {{binding: value}}, not {text(bindings)}"
                )
        for cell in self.exclude:
            if not isinstance(cell, Mapping) or not cell:
                raise UserError(f"grid.exclude needs {{binding: value}} each, not {text(cell)}")
        for index, claim in enumerate(self.claims):
            Claim.read(index, claim)
        if isinstance(self.seeds, list):
            if not self.seeds:
                raise UserError("grid.seeds is an empty list: name at least one seed")
            _check_distinct("seeds", self.seeds)

    @property
    def claim_list(self) -> list[Claim]:
        """Return what the grid is expected to show."""
        return [Claim.read(index, claim) for index, claim in enumerate(self.claims)]

    @property
    def seed_list(self) -> list[int]:
        """Return the seeds of every arm."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)


def _check_lists(where: str, lists: Mapping[str, Any]) -> None:
    for name, values in lists.items():
        if not isinstance(values, list | tuple):
            raise UserError(f"grid.{where}[{name!r}] needs a list of values, not {text(values)}")
        if not values:
            raise UserError(f"grid.{where}[{name!r}] has no values: give it some or remove it")
        _check_distinct(f"{where}[{name!r}]", values)


def _check_zip(name: str, columns: Any) -> None:
    where = f"zips[{name!r}]"
    if not isinstance(columns, Mapping) or not columns:
        raise UserError(f"grid.{where} needs {{binding: [values], ...}}, not {text(columns)}")
    for binding, values in columns.items():
        if not isinstance(values, list | tuple):
            raise UserError(f"grid.{where}[{binding!r}] needs a list of values, not {text(values)}")
        if not values:
            raise UserError(f"grid.{where}[{binding!r}] has no values: give it some or remove it")
    lengths = {binding: len(values) for binding, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{binding} has {count}" for binding, count in lengths.items())
        raise UserError(f"grid.{where}: its lists move together and need one length: {shown}")
    _check_distinct(where, list(zip(*columns.values(), strict=True)))


def _check_distinct(where: str, values: list[Any] | tuple[Any, ...]) -> None:
    for index, value in enumerate(values):
        if any(same(value, earlier) for earlier in values[:index]):
            raise UserError(f"grid.{where} has {text(value)} twice: remove one")


def same(one: Any, other: Any) -> bool:
    """Return whether two values as data are equal: 1 equals 1.0, but not True."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


register_root("grid", Grid, identity=False)
