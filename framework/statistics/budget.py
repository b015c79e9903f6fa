"""Scores at an equal budget of steps, seconds or FLOPs."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RunRows = dict[tuple[str, int], NDArray[np.intp]]


@dataclass(frozen=True)
class Budgeted:
    """Scores of all runs at one budget.

    Attributes:
        cost: the column that was held equal.
        budget: how much of it; NaN where nothing could be compared.
        scores: columns arm, seed, value; NaN for a run whose evaluations do not enclose the
            budget, or have no number there.
    """

    cost: str
    budget: float
    scores: pd.DataFrame


def at_budget(curves: pd.DataFrame, cost: str, budget: float | None = None) -> Budgeted:
    """Read every run's metric where it had spent the same.

    Between two evaluations the metric is interpolated linearly in the cost. Without a budget
    the largest one that every run has reached is taken, so that no run is extrapolated.

    Args:
        curves: columns arm, seed, value and the cost; one row an evaluation of a run.
        cost: name of the column to hold equal, growing along a run.
        budget: how much of it; None for the largest common one.

    Raises:
        ValueError: a budget that is not positive.
    """
    if budget is not None and not budget > 0:
        raise ValueError(f"the budget of {cost} must be positive, got {budget}")
    known = curves[curves[cost].notna()].astype({"arm": object})
    if known.empty:
        return Budgeted(cost, float("nan"), pd.DataFrame(columns=["arm", "seed", "value"]))
    ordered = known.sort_values(cost, kind="stable")
    runs = ordered.groupby(["arm", "seed"], sort=False)
    spent = float(runs[cost].max().min()) if budget is None else float(budget)
    costs, values = ordered[cost].to_numpy(float), ordered["value"].to_numpy(float)
    rows = [
        (arm, seed, float(np.interp(spent, costs[at], values[at], left=np.nan, right=np.nan)))
        for (arm, seed), at in cast("RunRows", runs.indices).items()
    ]
    scores = pd.DataFrame(rows, columns=["arm", "seed", "value"])
    order = {arm: k for k, arm in enumerate(pd.unique(known["arm"]))}
    scores = scores.sort_values("arm", key=lambda arms: arms.map(order), kind="stable")
    return Budgeted(cost, spent, scores.reset_index(drop=True))
