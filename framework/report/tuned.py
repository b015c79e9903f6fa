"""A grid with tuned arms, reduced to the best that was tried for each."""

from dataclasses import replace

import pandas as pd

from framework.statistics import Direction, best_variants

from .grid_results import GridResults
from .scoring import RUN, Scores, score_runs
from .selection import select


def with_scores(grid: GridResults, scores: Scores) -> pd.DataFrame:
    """Return the grid's runs, every variant of them, each with its value (NaN without)."""
    return grid.runs.merge(scores.final[[*RUN, "value"]], on=RUN, how="left")


def choose(grid: GridResults, scores: Scores, direction: Direction) -> pd.DataFrame | None:
    """Return the columns of `best_variants`; None where no arm has more than one variant."""
    if not _is_tuned(grid):
        return None
    return best_variants(with_scores(grid, scores), direction)


def keep(rows: pd.DataFrame, tuning: pd.DataFrame | None) -> pd.DataFrame:
    """Return the rows of the chosen variants, all without any tuning."""
    if tuning is None:
        return rows
    chosen = rows["arm"].astype(object).map(tuning["variant"])
    return rows[chosen == rows["variant"].astype(object)]


def chosen_of(scores: Scores, tuning: pd.DataFrame | None) -> Scores:
    """Return the scores of the chosen variants."""
    return replace(
        scores,
        final=keep(scores.final, tuning),
        blocks=keep(scores.blocks, tuning),
        curves=keep(scores.curves, tuning),
    )


def reduced(grid: GridResults, tuning: pd.DataFrame | None) -> GridResults:
    """Return the grid as if nothing but the chosen variants had been run."""
    if tuning is None:
        return grid
    return replace(grid, runs=keep(grid.runs, tuning), frame=keep(grid.frame, tuning))


def at_best(grid: GridResults) -> tuple[GridResults, int]:
    """Reduce a grid to the best variants by its own metric; also say how many an arm tried at most.

    Raises:
        UserError: arms are tuned, and nothing was evaluated to choose by.
    """
    if not _is_tuned(grid):
        return grid, 1
    selection = select(grid)
    tuning = choose(grid, score_runs(grid, selection), selection.direction)
    return reduced(grid, tuning), 1 if tuning is None else int(tuning["tried"].max())


def _is_tuned(grid: GridResults) -> bool:
    return bool((grid.runs.groupby("arm", observed=True)["variant"].nunique() > 1).any())
