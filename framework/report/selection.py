"""Which of everything that a grid logged its ranking stands on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import pandas as pd

from framework.errors import UserError
from framework.results.names import plain_metric
from framework.statistics import Direction

from .grid_results import GridResults

CONDITIONS = ("w", "weights", "sampler", "time_grid")
"""Columns that an evaluation may vary within one run; a ranking holds each of them fixed."""

RUN = ["arm", "variant", "seed"]
COLUMNS = ["arm", "variant", "seed", "step", "time", "nfe", "block", "value"]


@dataclass(frozen=True)
class Selection:
    """The rows that belong to one metric.

    Attributes:
        metric: plain name.
        full_names: names as logged, with feature hashes.
        nfe: network evaluations of the ranking; None for a metric that samples nothing.
        direction: which way it improves.
        rows: COLUMNS, at every NFE; one row a block of an evaluation.
        notes: what was chosen and why, in sentences.
        w: guidance weight that was asked for.
        under: what the rows were measured with: CONDITIONS and numbers of samples, as text.
    """

    metric: str
    full_names: tuple[str, ...]
    nfe: int | None
    direction: Direction
    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    w: float | None = None
    under: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Metric with its NFE and its better direction."""
        at = [f"{self.nfe} NFE"] if self.nfe is not None else []
        at += [f"w = {self.w:g}"] if self.w is not None else []
        return f"{self.metric} at {' and '.join(at)}" if at else self.metric

    def at_nfe(self) -> pd.DataFrame:
        """Rows at the NFE of the ranking, and those whose sampler chose its own."""
        at = self.rows["nfe"]
        return self.rows if self.nfe is None else self.rows[(at == self.nfe) | at.isna()]


def select(
    grid: GridResults, metric: str | None = None, nfe: int | None = None, w: float | None = None
) -> Selection:
    """Choose the rows to rank by.

    The metric may be given with or without its hash. Without one the grid's own is taken, then
    the first evaluated. Where runs evaluate it with several settings of its own, or under several
    guidance weights, averages or samplers, one value is held fixed: the first that all arms have,
    or each arm's own first where they have none in common. `w` names the weight instead.

    Raises:
        UserError: nothing was evaluated, or not this metric, NFE or weight; says what there is.
    """
    kind, name = _choose_metric(grid, metric)
    frame = grid.frame[grid.frame["kind"] == kind]
    logged = [str(full) for full in frame["metric"].unique()]
    full_names = tuple(sorted(full for full in logged if name in (full, plain_metric(full))))
    frame = frame[frame["metric"].isin(full_names).to_numpy()]
    notes: list[str] = []
    frame = _fix(frame, "metric", notes)  # a run may have it with several settings
    full_names = tuple(sorted(map(str, frame["metric"].unique())))
    if len(full_names) > 1:
        notes.append(
            f"Logged as {', '.join(full_names)}: values of different features or settings are not "
            "comparable; read across arms with care."
        )
    elif not notes and full_names[0] != plain_metric(name):
        notes.append(f"{plain_metric(name)} is logged as {full_names[0]}.")
    if w is not None:
        frame = _at_weight(frame, w, plain_metric(name))
    for column in CONDITIONS:
        frame = _fix(frame, column, notes)
    frame = _most_samples(frame, notes)
    chosen = _choose_nfe(frame, grid.metric_nfe if nfe is None else nfe, name, nfe, bool(metric))
    rows = frame[COLUMNS].astype({"arm": object, "variant": object}).reset_index(drop=True)
    direction = _direction(frame, name, notes)
    under = {column: _values(frame[column]) for column in (*CONDITIONS, "samples")}
    return Selection(plain_metric(name), full_names, chosen, direction, rows, notes, w, under)


def _values(column: pd.Series) -> str:
    """Return all values of a column as text."""
    known = sorted(column.dropna().unique())
    texts = [value if isinstance(value, str) else f"{value:g}" for value in known]
    return ", ".join(texts) or "none"


def _choose_metric(grid: GridResults, metric: str | None) -> tuple[str, str]:
    """Return (kind, name) of the metric to rank by."""
    names = {
        kind: [str(name) for name in rows["metric"].unique()]
        for kind, rows in grid.frame.groupby("kind", observed=True, sort=True)
    }
    evaluated, logged = names.get("evaluation", []), names.get("scalar", [])
    if not evaluated and not logged:
        raise UserError(
            f"{grid.directory}: no run has results yet; "
            f"`python launch/status.py {grid.directory}` shows what they are doing"
        )
    name = metric or grid.metric or (evaluated[0] if evaluated else logged[0])
    if not metric and not grid.metric and "@" in name:
        name = plain_metric(name)
    for kind, known in (("evaluation", evaluated), ("scalar", logged)):
        if any(name in (full, plain_metric(full)) for full in known):
            return kind, name
    there = ", ".join(sorted({plain_metric(full) for full in evaluated or logged}))
    raise UserError(f"no run of {grid.name} has the metric {name!r}; choose one of: {there}")


def _at_weight(frame: pd.DataFrame, w: float, metric: str) -> pd.DataFrame:
    there = sorted(frame["w"].dropna().unique())
    if w not in there:
        known = ", ".join(f"{value:g}" for value in there)
        raise UserError(f"{metric} was not evaluated at w = {w:g} (--w); choose one of: {known}")
    return frame[frame["w"] == w]


def _fix(frame: pd.DataFrame, column: str, notes: list[str]) -> pd.DataFrame:
    """Hold one evaluation condition fixed, noting which value was taken."""
    if frame[column].nunique(dropna=False) == 1:
        return frame
    values = frame[column].astype(object)
    values = values.where(values.notna(), None)
    by_arm = values.groupby(frame["arm"].astype(object), sort=False).unique()
    if all(len(seen) == 1 for seen in by_arm):
        return frame
    common = [v for v in by_arm.iloc[0] if all(v in seen for seen in by_arm)]
    if common:
        others = sorted({str(v) for seen in by_arm for v in seen} - {str(common[0])})
        notes.append(f"Evaluated at {column} = {common[0]}; also logged: {', '.join(others)}.")
        first = pd.Series(common[0], index=frame.index, dtype=object)
        return _where_equal(frame, values, first)
    notes.append(f"Arms have no {column} in common: each is read at the first of its own.")
    first = frame["arm"].astype(object).map({arm: seen[0] for arm, seen in by_arm.items()})
    return _where_equal(frame, values, first)


def _most_samples(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Where runs were measured again with other numbers of samples, keep one number a step.

    It is the largest that all runs measured at that step have; failing that each run's own.
    """
    counts = sorted(frame["samples"].dropna().unique())
    if len(counts) < 2:
        return frame
    run = frame.groupby(RUN, sort=False, observed=True).ngroup()
    keys = [frame["step"], frame["nfe"].fillna(-1)]
    everyone = run.groupby(keys).transform("nunique")
    having = run.groupby([*keys, frame["samples"]]).transform("nunique")
    shared = frame["samples"].where(having == everyone).groupby(keys).transform("max")
    own = frame["samples"].groupby([*keys, run]).transform("max")
    kept = frame["samples"] == shared.fillna(own)
    used = sorted(frame.loc[kept, "samples"].unique())
    notes.append(
        f"Measured with {' and '.join(f'{n:.0f}' for n in counts)} samples a block; used, where "
        f"all runs have them: {' and '.join(f'{n:.0f}' for n in used)}."
    )
    return frame.loc[kept]


def _where_equal(frame: pd.DataFrame, left: pd.Series, right: pd.Series) -> pd.DataFrame:
    """Rows in which two columns agree."""
    return frame.loc[(left == right).to_numpy(dtype=bool)]


def _choose_nfe(
    frame: pd.DataFrame, wanted: int | None, metric: str, asked: int | None, metric_is_asked: bool
) -> int | None:
    """Return the NFE to rank at; the smallest logged where nothing was said.

    The grid's own NFE belongs to the grid's own metric: another need not have it.
    """
    there = sorted({int(n) for n in frame["nfe"].dropna().unique()})
    if not there:
        return None
    if wanted is None:
        return there[0]
    if wanted in there:
        return wanted
    if asked is None and metric_is_asked:
        return there[0]
    where = "--nfe" if asked is not None else "grid.metric_nfe"
    raise UserError(
        f"{plain_metric(metric)} was not evaluated at {wanted} NFE ({where}); "
        f"choose one of: {', '.join(map(str, there))}"
    )


def _direction(frame: pd.DataFrame, metric: str, notes: list[str]) -> Direction:
    """Return which way the metric improves; lower where it does not say."""
    said = {str(d) for d in frame["direction"].dropna().unique()} - {""}
    if said <= {"lower", "higher"} and len(said) == 1:
        return cast("Direction", said.pop())
    name = plain_metric(metric)
    notes.append(f"{name} does not say which way it improves: lower is taken as better.")
    return "lower"
