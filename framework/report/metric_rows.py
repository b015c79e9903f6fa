"""All metrics of all arms side by side, at every NFE."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .analysis import Analysis
from .numbers import DASH, decimals_for, with_spread
from .selection import Selection

MOST = 9
"""Columns that a page has room for."""


@dataclass(frozen=True)
class MetricTable:
    """Mean ± sd of metrics.

    Attributes:
        heads: a column each: metric, NFE and which way is better.
        rows: per arm its name and one cell a column.
    """

    heads: list[str]
    rows: list[tuple[str, list[str]]]


def metric_by_nfe(analysis: Analysis, selection: Selection) -> pd.DataFrame:
    """Mean and deviation over seeds of one metric at every NFE, at each run's scored step.

    Returns:
        Columns arm, nfe (NaN for a metric that samples nothing), mean, sd, n and broken: runs
        without a number, of which the mean knows nothing.
    """
    scored = analysis.scores.final[["arm", "variant", "seed", "step"]]
    rows = selection.rows.merge(scored, on=["arm", "variant", "seed", "step"])
    rows["value"] = rows["value"].where(np.isfinite(rows["value"]))
    runs = rows.groupby(["arm", "seed", "nfe"], sort=False, dropna=False)["value"]
    arms = runs.mean(skipna=False).groupby(["arm", "nfe"], sort=True, dropna=False)
    spread = arms.agg(["mean", "std", "count", "size"]).reset_index()
    spread["broken"] = spread["size"] - spread["count"]
    return spread.drop(columns="size").rename(columns={"std": "sd", "count": "n"})


def _missing(n: int, broken: int, scored: int) -> str:
    """Say which of an arm's scored runs a mean does not know of."""
    lacks = [f"{n + broken} of {scored} runs"] if n + broken < scored else []
    lacks += [f"{broken} without a number"] if broken else []
    return f" ({', '.join(lacks)})" if lacks else ""


def metric_table(analysis: Analysis) -> MetricTable:
    """Lay out every evaluated metric, arms in the order of the ranking.

    A cell whose mean knows of fewer runs than the arm has in the ranking says of how many.
    """
    scored = analysis.scores.final["arm"].value_counts()
    heads: list[str] = []
    columns: list[dict[str, str]] = []
    for selection in (analysis.selection, *analysis.others):
        table = metric_by_nfe(analysis, selection)
        places = decimals_for(table["sd"], table["mean"])
        arrow = "\N{DOWNWARDS ARROW}" if selection.direction == "lower" else "\N{UPWARDS ARROW}"
        for nfe in table["nfe"].unique():
            rows = table[table["nfe"].isna() if np.isnan(nfe) else table["nfe"] == nfe]
            at = "" if np.isnan(nfe) else f", {nfe:.0f} NFE"
            heads.append(f"{selection.metric}{at} {arrow}")
            columns.append(
                {
                    str(row["arm"]): with_spread(row["mean"], row["sd"], places)
                    + _missing(row["n"], row["broken"], int(scored[row["arm"]]))
                    for row in rows.to_dict("records")
                }
            )
    arms = map(str, analysis.ranking.index)
    kept = columns[:MOST]
    return MetricTable(heads[:MOST], [(arm, [c.get(arm, DASH) for c in kept]) for arm in arms])
