"""Everything a report states, worked out once and then written in several forms."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from framework.errors import UserError, nearest
from framework.results.names import plain_metric
from framework.statistics import (
    Factorial,
    at_budget,
    compare_grids,
    factorial_effects,
    lost_runs,
    noise_components,
    paired_differences,
    rank_arms,
    score_matrix,
)

from .agreement import with_agreement
from .grid_results import GridResults
from .scoring import Scores, score_runs
from .selection import Selection, select
from .tuned import choose, chosen_of, keep, reduced, with_scores

BASELINE = "baseline"
"""What a baseline is called that is no other arm of its grid."""

SURVIVORS = ", but of surviving runs only"
"""What is said of a difference in favour of the arm that lost more runs."""

MOST_OTHERS = 5
"""Metrics shown beside the one ranked by."""

COSTS = {"step": "steps", "time": "seconds", "flops": "FLOPs"}
"""Columns that can be held equal, and their units."""


@dataclass(frozen=True)
class BudgetRanking:
    """The ranking with one cost held equal.

    Attributes:
        cost: 'step', 'time' or 'flops'.
        unit: its unit.
        budget: how much of it every run had spent.
        table: index arm, columns rank, mean, sd, n and, but for the baseline, difference.
    """

    cost: str
    unit: str
    budget: float
    table: pd.DataFrame


@dataclass(frozen=True)
class Analysis:
    """The findings of one grid on one metric.

    Attributes:
        grid: what was analysed.
        compared: the same without the variants that were tried and not chosen.
        selection: the metric.
        scores: one score a run, of the chosen variants.
        baseline: the arm compared with; None where it has no score, or is alone.
        ranking: columns of `rank_arms`, `paired_differences`, `noise_components`, and seconds
            (mean over a scored arm's runs); index arm, best first.
        budgets: rankings at equal cost.
        factorial: effects in a product grid; None in others.
        tuning: columns of `best_variants`; None without tuned arms.
        runs: one row a run of every variant, with its value.
        notes: what a reader must know to read the table, in sentences.
        others: the grid's other evaluated metrics.
        against: two grids compared, None without a second.
        against_name: the second grid's name.
    """

    grid: GridResults
    compared: GridResults
    selection: Selection
    scores: Scores
    baseline: str | None
    ranking: pd.DataFrame
    budgets: list[BudgetRanking]
    factorial: Factorial | None
    tuning: pd.DataFrame | None
    runs: pd.DataFrame
    notes: list[str]
    others: list[Selection]
    against: pd.DataFrame | None = None
    against_name: str = ""


def analyse(
    grid: GridResults,
    metric: str | None = None,
    nfe: int | None = None,
    against: GridResults | None = None,
    *,
    w: float | None = None,
) -> Analysis:
    """Work out a grid's findings.

    Args:
        grid: the grid.
        metric: metric to rank by; None for the grid's own.
        nfe: network evaluations to rank at; None for the grid's own.
        against: another grid to compare with, arm by arm.
        w: guidance weight to rank at; None for the first that all arms have.

    Raises:
        UserError: nothing to analyse, or an unknown metric, NFE, weight or baseline.
    """
    selection = select(grid, metric, nfe, w)
    scores = score_runs(grid, selection)
    runs = with_scores(grid, scores)
    notes = [*selection.notes, *scores.notes, *grid.warnings]
    tuning = choose(grid, scores, selection.direction)
    compared, chosen, scores = reduced(grid, tuning), keep(runs, tuning), chosen_of(scores, tuning)
    notes += _flattered(tuning)
    known = scores.final.dropna(subset="value")
    baseline = _baseline(grid, known, notes, elsewhere=w is not None)
    if score_matrix(known).isna().any(axis=None):
        notes.append(
            "Arms have scores for different seeds: their means are not over the same ones, the "
            "paired differences are."
        )
    ranking = with_agreement(grid, baseline, _ranking(selection, scores, chosen, baseline), notes)
    others = _others(compared, selection)
    mixed = [note for other in others if len(other.full_names) > 1 for note in other.notes]
    notes += [note for note in mixed if note not in notes]
    beside = None
    if against is not None:
        table, said = _against(against, grid, selection, scores)
        order = [arm for arm in ranking.index if arm in table.index]
        beside = table.loc[[*order, *table.index.drop(order)]]
        notes += said
    return Analysis(
        grid, compared, selection, scores, baseline, ranking,
        _budgets(selection, scores, chosen, baseline),
        _factorial(grid, scores.final), tuning, runs, notes, others, beside,
        against.name if against else "",
    )  # fmt: skip


def _flattered(tuning: pd.DataFrame | None) -> list[str]:
    """Say that a choice was made on what it is judged by, where one was made."""
    if tuning is None:
        return []
    return [
        f"Arms are compared at the best of up to {tuning['tried'].max()} tuned settings, "
        "chosen on the same seeds: slightly flattering, the more so the more were tried."
    ]


def _baseline(
    grid: GridResults, final: pd.DataFrame, notes: list[str], *, elsewhere: bool
) -> str | None:
    """Return the arm to compare with; the grid's first where it names none, none for one arm.

    Ranked `elsewhere`, at a guidance weight that the baseline may not have been judged at, the
    first arm that was stands in.
    """
    if len(grid.arms) == 1:
        return None
    name = grid.baseline
    if name is None:
        name = grid.arm_names[0]
        notes.append(f"The grid names no baseline: {name}, its first arm, stands in.")
    elif name not in grid.arm_names:
        hint = nearest(name, grid.arm_names)
        raise UserError(f"{grid.directory}: the baseline {name!r} is no arm of this grid{hint}")
    if name in set(final["arm"]):
        return name
    the = the_baseline(name)
    there = [arm for arm in grid.arm_names if arm in set(final["arm"])]
    if elsewhere and there:
        notes.append(f"No score at this weight for {the}: {there[0]} stands in.")
        return there[0]
    notes.append(f"No score for {the}, so nothing can be compared with it.")
    return None


def the_baseline(name: str) -> str:
    """The baseline with its name, where it has one of its own."""
    return "the baseline" if name == BASELINE else f"the baseline {name}"


def _ranking(
    selection: Selection, scores: Scores, runs: pd.DataFrame, baseline: str | None
) -> pd.DataFrame:
    """Join the ranked table, the comparison with the baseline, noise and cost."""
    table = rank_arms(scores.final, runs, selection.direction)
    if baseline is not None:
        pairs = paired_differences(scores.final, baseline, selection.direction)
        table = _of_survivors(table.join(pairs.rename(columns={"sd": "difference_sd"})), baseline)
    noise = noise_components(scores.blocks)[["evaluation_sd", "seed_sd", "blocks"]]
    seconds = scores.curves.groupby(["arm", "seed"], sort=False)["time"].max()
    return table.join(noise).join(seconds.groupby("arm", sort=False).mean().rename("seconds"))


def _of_survivors(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Restrict verdicts in favour of the side that lost more runs: its survivors flatter it."""
    lost = lost_runs(table)
    more = np.sign(lost - lost[baseline])
    words = table["verdict"].astype(object)
    words[(more > 0) & (words == "better") | (more < 0) & (words == "worse")] += SURVIVORS
    return table.assign(verdict=words)


def _others(grid: GridResults, selection: Selection) -> list[Selection]:
    """The other evaluated metrics, at the ranking's NFE where they have it."""
    rows = grid.frame[grid.frame["kind"] == "evaluation"]
    names = dict.fromkeys(plain_metric(str(name)) for name in rows["metric"].unique())
    names.pop(selection.metric, None)
    return [select(grid, name, w=selection.w) for name in list(names)[:MOST_OTHERS]]


def _budgets(
    selection: Selection, scores: Scores, runs: pd.DataFrame, baseline: str | None
) -> list[BudgetRanking]:
    """Rank at equal steps, seconds and, where known, FLOPs."""
    rankings = []
    for cost, unit in COSTS.items():
        read = at_budget(scores.curves, cost)
        known = set(read.scores.dropna()["arm"])
        if not known:
            continue
        table = rank_arms(read.scores, runs, selection.direction)[["rank", "mean", "sd", "n"]]
        if baseline in known:
            pairs = paired_differences(read.scores, str(baseline), selection.direction)
            table = table.join(pairs[["difference", "low", "high", "p_holm", "verdict"]])
        rankings.append(BudgetRanking(cost, unit, read.budget, table))
    return rankings


def _factorial(grid: GridResults, final: pd.DataFrame) -> Factorial | None:
    """Effects of a product of at least two axes; None for any other grid.

    Arms beside the product (a baseline of its own, arms one at a time) do not enter.
    """
    axes = {binding: values for binding, values in grid.axes.items() if len(values) > 1}
    if len(axes) < 2 or final.empty:
        return None
    settings = pd.DataFrame(
        [[arm.settings.get(axis, "") for axis in axes] for arm in grid.arms],
        index=grid.arm_names,
        columns=list(axes),
    )
    inside = pd.concat([settings[axis].isin(axes[axis]) for axis in axes], axis=1).all(axis=1)
    settings = settings[inside]
    effects = factorial_effects(score_matrix(final).reindex(settings.index), settings)
    return effects if effects.cells > len(axes) else None


def _against(
    other: GridResults, grid: GridResults, selection: Selection, scores: Scores
) -> tuple[pd.DataFrame, list[str]]:
    """Compare with another grid on the same metric, arm by arm, with what diverged in either.

    Returns:
        The columns of `compare_grids`, and what a reader must know of the other grid's scores.
    """
    theirs = select(other, selection.metric, selection.nfe, selection.w)
    earlier = score_runs(other, theirs)
    tuning = choose(other, earlier, selection.direction)
    before = keep(earlier.final, tuning)
    table = compare_grids(before, scores.final, selection.direction)
    table = table.reindex(pd.unique(pd.Series([*table.index, *grid.arm_names, *other.arm_names])))
    words = table["verdict"].fillna("no score in either")
    for runs, when in ((other.runs, "before"), (grid.runs, "after")):
        lost = Counter(map(str, runs[runs["state"] == "diverged"]["arm"]))
        words += [f"; {lost[arm]} diverged {when}" if arm in lost else "" for arm in table.index]
    told = [*theirs.notes, *earlier.notes, *other.warnings, *_flattered(tuning)]
    notes = [f"{other.name}: {note}" for note in told if note not in selection.notes]
    ours, before_us = _read_as(selection, scores), _read_as(theirs, earlier)
    unlike = [f"{k} {before_us[k]} against {v}" for k, v in ours.items() if before_us[k] != v]
    if unlike:
        notes.append(f"{other.name} was read otherwise than {grid.name}: {'; '.join(unlike)}.")
    return table.assign(verdict=words), notes


def _read_as(selection: Selection, scores: Scores) -> dict[str, str]:
    """What scores were measured with, and at which steps, as text."""
    steps = sorted(scores.final["step"].unique())
    names = {"metric": ", ".join(selection.full_names)}
    return {**names, **selection.under, "step": ", ".join(map(str, steps))}
