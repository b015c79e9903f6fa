"""Quality against cost, with the Pareto front."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from framework.statistics import orient

from ..analysis import Analysis
from .style import FAINT, SOFT, canvas, grid_lines, legend, name_values, pens


def pareto_front(table: pd.DataFrame, sign: float) -> pd.Index:
    """Arms that no other beats in both cost and quality, cheapest first.

    Args:
        table: index arm; columns seconds and mean.
        sign: +1 where a larger mean is better, -1 where a smaller one is.
    """
    ordered = table.assign(gain=sign * table["mean"]).sort_values(
        ["seconds", "gain"], ascending=[True, False], kind="stable"
    )
    best = ordered["gain"].cummax()
    return ordered.index[best.ne(best.shift())]


def draw_cost(analysis: Analysis) -> Figure | None:
    """Draw each arm's mean against its seconds; None without times or a second arm."""
    table = analysis.ranking[["seconds", "mean", "sd"]]
    if analysis.tuning is not None:
        table = table.assign(seconds=analysis.tuning["search_seconds"])
    table = table[table["seconds"].notna() & table["mean"].notna()]
    if len(table) < 2:
        return None
    figure, (axes,) = canvas()
    front = pareto_front(table, orient(analysis.selection.direction))
    line = table.loc[front]
    axes.step(line["seconds"], line["mean"], where="post", color=FAINT, linewidth=4, zorder=0)
    styles = pens([str(arm) for arm in table.index], analysis.baseline)
    others = table[[not styles[str(arm)].named for arm in table.index]]
    for rows, face in ((others.drop(front, errors="ignore"), "white"),
                       (others.loc[others.index.intersection(front)], SOFT)):  # fmt: skip
        axes.plot(rows["seconds"], rows["mean"], "o", color=SOFT, markersize=3.5, alpha=0.6,
                  markerfacecolor=face, zorder=2)  # fmt: skip
    for arm, row in table.drop(index=others.index).iterrows():
        pen = styles[str(arm)]
        axes.errorbar(
            row["seconds"], row["mean"], row["sd"] if np.isfinite(row["sd"]) else None,
            color=pen.color, marker=pen.marker, markersize=6.5, elinewidth=1, capsize=2,
            linestyle="none", zorder=3, label=str(arm),
            markerfacecolor=pen.color if arm in front else "white",
        )  # fmt: skip
    axes.set_xlabel(
        "seconds of training a run" + (" (search included)" if analysis.tuning is not None else "")
    )
    name_values(axes, f"{analysis.selection.title} ({analysis.selection.direction} is better)")
    axes.margins(x=0.12, y=0.12)
    grid_lines(axes)
    legend(axes, analysis, styles, dots=True)
    return figure
