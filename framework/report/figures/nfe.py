"""The metric against the number of network evaluations, per arm."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..analysis import Analysis
from .style import canvas, grid_lines, legend, pens


def nfe_table(analysis: Analysis) -> pd.DataFrame:
    """Mean and deviation over seeds at every NFE, at each run's scored step.

    Returns:
        Columns arm, nfe, mean, sd, n.
    """
    rows = analysis.selection.rows
    scored = analysis.scores.final[["arm", "variant", "seed", "step"]]
    rows = rows[rows["nfe"].notna()].merge(scored, on=["arm", "variant", "seed", "step"])
    each = rows.groupby(["arm", "seed", "nfe"], sort=False)["value"].mean()
    spread = each.groupby(["arm", "nfe"], sort=True).agg(["mean", "std", "count"])
    return spread.reset_index().rename(columns={"std": "sd", "count": "n"})


def draw_nfe(analysis: Analysis) -> Figure | None:
    """Draw one line an arm with bars of one standard deviation; None with a single NFE."""
    table = nfe_table(analysis)
    counts = sorted(table["nfe"].unique())
    if len(counts) < 2:
        return None
    figure, (axes,) = canvas()
    arms = [arm for arm in analysis.ranking.index if arm in set(table["arm"])]
    styles = pens(arms, analysis.baseline)
    groups = dict(iter(table.groupby("arm", sort=False)))
    for k, arm in enumerate(arms):
        rows, pen = groups[arm], styles[arm]
        shift = 1 + 0.012 * (k - len(arms) / 2) if pen.named and len(arms) < 9 else 1.0
        axes.errorbar(
            rows["nfe"] * shift, rows["mean"], rows["sd"] if pen.named else None,
            color=pen.color, linestyle=pen.line, marker=pen.marker, linewidth=pen.width,
            alpha=pen.alpha, zorder=pen.zorder, markersize=5, capsize=2, elinewidth=1,
            label=arm if pen.named else None,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(counts, [f"{int(n)}" for n in counts])
    axes.set_xlabel("network evaluations (NFE)")
    better = analysis.selection.direction
    axes.set_ylabel(f"{analysis.selection.metric} ({better} is better)")
    grid_lines(axes)
    legend(axes, sum(not pen.named for pen in styles.values()), analysis.baseline)
    return figure
