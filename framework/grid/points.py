"""Points of a grid: what each arm binds, before anything is resolved."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framework.configuration import Configuration, Value, text
from framework.errors import UserError, nearest
from framework.grid.naming import BASELINE, arm_name, check_name, short_keys
from framework.grid.settings import Grid, same

Point = dict[str, Value]


@dataclass(frozen=True)
class Points:
    """Named points, the baseline's own bindings, and the bindings tried for each arm.

    `origins` says for each arm where a binding that it makes was written; `own` is what each of
    `grid.arms` binds itself; `columns` are the choices of each axis, then of each zip, and
    `equivalent` the bindings that change cost and not mathematics.
    """

    arms: Mapping[str, Point]
    origins: Mapping[str, str]
    own: Mapping[str, Point]
    baseline: Point
    tune: Sequence[Point]
    varied: tuple[str, ...]
    columns: Sequence[Sequence[Point]]
    equivalent: tuple[str, ...]


class Canon:
    """Spells names and values in full, so that they can be compared."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def point(self, bindings: Mapping[str, Value], origin: str) -> Point:
        """Return bindings with full names and expanded values.

        Raises:
            UserError: a name is not that of a setting, or may not vary.
        """
        bound = self._configuration.with_bindings(bindings, origin)
        point: Point = {}
        for name in bindings:
            full = str(self._configuration.key(name, origin))
            if full.startswith("grid."):
                raise UserError(f"{origin}: a grid cannot vary {full}")
            if full == "train.seed":
                raise UserError(f"{origin}: seeds belong into grid.seeds, not train.seed")
            if full in point:
                raise UserError(f"{origin}: {full} is bound twice: remove one")
            point[full] = bound.get(name)
        return point


def points(configuration: Configuration, grid: Grid) -> Points:
    """Return the points of a grid in order: the product, then the single arms.

    Raises:
        UserError: a binding names nothing, or two things claim one name or one binding.
    """
    canon = Canon(configuration)
    baseline = canon.point(grid.baseline, "grid.baseline")
    columns = _columns(canon, grid)
    equivalent = _equivalent(grid, columns)
    product = [dict(_merged(combination)) for combination in itertools.product(*columns)]
    varied = _varied(columns) or tuple(name for column in columns for name in column[0])
    kept = _without_excluded(canon, grid, product, list(_merged([c[0] for c in columns])))
    if not kept:
        raise UserError("grid.exclude leaves out every arm: remove some of it")
    arms: dict[str, Point] = {}
    keys = short_keys(varied)
    for point in kept if columns else []:
        _add(arms, arm_name(point, keys), point)
    origins = dict.fromkeys(arms, "grid.axes")
    own = {n: canon.point(bindings, f"grid.arms[{n!r}]") for n, bindings in grid.arms.items()}
    for name, bindings in own.items():
        check_name(name, "grid.arms: the name")
        _add(arms, name, baseline | bindings)
        origins[name] = f"grid.arms[{name!r}]"
        varied += tuple(key for key in bindings if key not in varied)
    bound = {name for point in (baseline, *arms.values()) for name in point}
    tune = _tune(canon, grid, varied, bound)
    for point in (baseline, *arms.values(), *tune):
        _check_macros(configuration, point)
    return Points(arms, origins, own, baseline, tune, varied, columns, equivalent)


def _check_macros(configuration: Configuration, point: Point) -> None:
    """Refuse a macro in `grid.*` that a point varies: what stands there was read before.

    Raises:
        UserError: there is one.
    """
    macros = {n: value for n, value in point.items() if not configuration.key(n).argument}
    if not macros:
        return
    varied = configuration.with_bindings(macros)
    for key, binding in configuration.bindings.items():
        if key.selector != "grid":
            continue
        before, after = (c.expand(binding.value, binding.origin) for c in (configuration, varied))
        if before != after:
            raise UserError(
                f"{binding.origin}: {key} uses a macro that the grid varies ({', '.join(macros)}), "
                "and would have its value from outside of the grid in every arm: write values there"
            )


def _columns(canon: Canon, grid: Grid) -> list[list[Point]]:
    """Return the choices of each axis and each zip."""
    columns = [
        [canon.point({name: value}, "grid.axes") for value in values]
        for name, values in grid.axes.items()
    ]
    for name, lists in grid.zips.items():
        rows = zip(*lists.values(), strict=True)
        origin = f"grid.zips[{name!r}]"
        columns.append([canon.point(dict(zip(lists, row, strict=True)), origin) for row in rows])
    seen: set[str] = set()
    for column in columns:
        twice = seen & set(column[0])
        if twice:
            raise UserError(f"grid: two axes or zips bind {min(twice)}: merge them or remove one")
        seen |= set(column[0])
    return columns


def _equivalent(grid: Grid, columns: Sequence[Sequence[Point]]) -> tuple[str, ...]:
    """Return the bindings that `grid.equivalent` names, a zip for all of its own."""
    known = {name: [name] for column in columns for name in column[0]}
    known |= {name: list(c[0]) for name, c in zip([*grid.axes, *grid.zips], columns, strict=True)}
    for name in grid.equivalent:
        if name not in known:
            near = nearest(name, known)
            raise UserError(f"grid.equivalent: no axis is called '{name}'{near}")
    return tuple(dict.fromkeys(full for name in grid.equivalent for full in known[name]))


def _merged(choices: Sequence[Point]) -> Point:
    return {name: value for choice in choices for name, value in choice.items()}


def _varied(columns: Sequence[Sequence[Point]]) -> tuple[str, ...]:
    """Return the bindings that take more than one value."""
    return tuple(
        name
        for column in columns
        for name in column[0]
        if any(not same(choice[name], column[0][name]) for choice in column)
    )


def _without_excluded(
    canon: Canon, grid: Grid, product: list[Point], names: Sequence[str]
) -> list[Point]:
    for bindings in grid.exclude:
        partial = canon.point(bindings, "grid.exclude")
        for name in partial:
            if name not in names:
                raise UserError(f"grid.exclude: {name} is no axis{nearest(name, names)}")
        left = [p for p in product if not all(same(p[n], v) for n, v in partial.items())]
        if len(left) == len(product):
            shown = ", ".join(f"{name} = {text(value)}" for name, value in partial.items())
            raise UserError(f"grid.exclude: no arm has {shown}, or it is left out already")
        product = left
    return product


def _add(arms: dict[str, Point], name: str, point: Point) -> None:
    if name == BASELINE:
        raise UserError(f"grid.arms: '{BASELINE}' is the baseline's own name: rename the arm")
    other = next((known for known in arms if known.casefold() == name.casefold()), None)
    if other is not None:
        raise UserError(
            f"two arms are called '{name}': one with {_shown(arms[other])}, one with "
            f"{_shown(point)}: rename one in grid.arms"
        )
    arms[name] = point


def _shown(point: Point) -> str:
    return ", ".join(f"{name} = {text(value)}" for name, value in point.items()) or "no bindings"


def _tune(canon: Canon, grid: Grid, varied: Sequence[str], bound: set[str]) -> list[Point]:
    columns = [
        [canon.point({name: value}, "grid.tune") for value in values]
        for name, values in grid.tune.items()
    ]
    tuned = [dict(_merged(combination)) for combination in itertools.product(*columns)]
    for name in tuned[0]:
        if name in varied:
            raise UserError(f"grid.tune: {name} is what the arms differ in: tune something else")
        if name in bound:
            raise UserError(
                f"grid.tune: {name} is bound by grid.axes, grid.zips or grid.baseline too, and "
                "each run would have the tuned value: remove it there"
            )
    return tuned
