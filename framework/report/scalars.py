"""One number a run for the curve of a logged scalar, so that curves can be compared in pairs."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from framework.errors import UserError, nearest

from .grid_results import GridResults

WARM_UP = 0.2
"""Share of a run's steps at whose start a curve falls or rises of itself, and is not judged."""

Floats = NDArray[np.float64]


def roughness(values: Floats) -> float:
    """Return the standard deviation of the steps of log(value): 0.1 are jumps of a tenth."""
    return float(np.diff(np.log(np.abs(values))).std())


def rise(values: Floats) -> float:
    """Return the largest factor from any value to a later one."""
    return float((values / np.minimum.accumulate(values)).max())


def mean(values: Floats) -> float:
    """Return the mean."""
    return float(values.mean())


SUMMARIES: dict[str, Callable[[Floats], float]] = {
    "mean": mean, "roughness": roughness, "rise": rise,
}  # fmt: skip


def curves(grid: GridResults, tag: str) -> pd.DataFrame:
    """Return the values of a scalar: columns arm, seed, step, value; ordered, NaN for infinities.

    Raises:
        UserError: no run logged it.
    """
    scalars = grid.frame[grid.frame["kind"] == "scalar"]
    rows = scalars[(scalars["metric"] == tag).to_numpy()]
    finite = np.isfinite(rows["value"])
    if not finite.any():
        known = [str(name) for name in scalars["metric"].unique()]
        raise UserError(f"{grid.directory}: no run logged '{tag}'{nearest(tag, known)}")
    rows = rows.assign(value=rows["value"].where(finite))
    return rows[["arm", "seed", "step", "value"]].astype({"arm": object}).sort_values("step")


def scalar_scores(grid: GridResults, tag: str, summary: str) -> pd.DataFrame:
    """Return one number a finished run for a scalar's curve after the warm-up.

    A curve with a point there that is no finite number has none either: the others alone would
    flatter the run.

    Returns:
        Columns arm, seed, value.

    Raises:
        UserError: no run logged it.
    """
    done = grid.runs[grid.runs["state"] == "done"][["arm", "seed", "steps"]]
    rows = curves(grid, tag).merge(done.astype({"arm": object}), on=["arm", "seed"])
    late = rows[rows["step"] > WARM_UP * rows["steps"]]
    each = late.groupby(["arm", "seed"], sort=False)["value"]
    found = each.agg(lambda values: SUMMARIES[summary](values.to_numpy(float)))
    return found.reset_index()
