"""Arms that change cost and not mathematics: whether they agree with the baseline."""

import pandas as pd

from framework.statistics import lost_runs

from .grid_results import GridResults

TOLERANCE = 0.05
"""How far the interval of a difference may reach for arms to agree, as a share of the baseline."""

DIFFERS = "differs but should agree"


def with_agreement(
    grid: GridResults, baseline: str | None, ranking: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """Reword the verdict on arms that `grid.equivalent` alone tells from the baseline.

    An arm 'agrees' where its scores are the baseline's, or where the interval of its paired
    difference lies within TOLERANCE of the baseline's mean. It 'differs but should agree' where
    the difference is sure, or the same in all seeds, or where one of both lost runs that the other
    did not. Otherwise nothing can be told.

    Args:
        grid: what is equivalent, and the arms' settings.
        baseline: the arm compared with; None where there is none.
        ranking: index arm; columns mean, difference, low, high, pairs, verdict, diverged, broken.
        notes: what a reader must know; the tolerance is added where it was used.
    """
    if not grid.equivalent or baseline is None:
        return ranking
    settings = {arm.name: dict(arm.settings) for arm in grid.arms}
    reference = settings[baseline]
    tolerance = TOLERANCE * abs(float(ranking["mean"][baseline]))
    words = ranking["verdict"].astype(object)
    lost = lost_runs(ranking)
    reworded = False
    for arm in ranking.index.drop(baseline):
        changed = {b for b, value in settings[str(arm)].items() if value != reference.get(b, value)}
        if not changed or not changed <= set(grid.equivalent):
            continue
        if lost[arm] != lost[baseline]:
            words[arm] = DIFFERS
        elif isinstance(words[arm], str):
            words[arm] = _word(ranking.T[arm], tolerance)
            reworded = True
    if reworded:
        notes.append(
            "Arms that have to agree do where the 95 % interval of their difference lies within "
            f"{100 * TOLERANCE:.0f} % of the baseline's mean."
        )
    return ranking.assign(verdict=words)


def _word(row: pd.Series, tolerance: float) -> str:
    """Return the verdict on one arm that has to agree."""
    word = str(row["verdict"])
    if word.startswith(("better", "worse", "cannot tell: the same")):
        return DIFFERS
    if word.startswith("identical") or max(-row["low"], row["high"]) <= tolerance:
        return "agrees"
    if row["pairs"] < 2:
        return word
    return f"cannot tell: the interval exceeds {100 * TOLERANCE:.0f} % of the baseline"
