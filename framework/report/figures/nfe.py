"""Every metric against the number of network evaluations, per arm."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..analysis import Analysis
from ..metric_rows import metric_by_nfe
from ..selection import Selection
from .style import Pen, canvas, draw_faint, grid_lines, legend, name_values, pens

MOST = 3
"""Metrics drawn, the one ranked by first."""


def draw_nfe(analysis: Analysis) -> Figure | None:
    """Draw a panel a metric, one line an arm, bars of one standard deviation.

    None where no metric was evaluated at several NFE.
    """
    wanted = [analysis.selection, *analysis.others]
    several = [s for s in wanted if s.rows["nfe"].nunique() > 1][:MOST]
    if not several:
        return None
    figure, panels = canvas(6.0 if len(several) == 1 else 4.0 * len(several), 3.8, len(several))
    styles = pens(map(str, analysis.ranking.index), analysis.baseline)
    for axes, selection in zip(panels, several, strict=True):
        _panel(axes, analysis, selection, styles)
    legend(panels[0], analysis, styles)
    return figure


def _panel(axes: Axes, analysis: Analysis, selection: Selection, styles: dict[str, Pen]) -> None:
    """Draw one metric."""
    table = metric_by_nfe(analysis, selection).dropna(subset="nfe")
    groups = dict(iter(table.groupby("arm", sort=False)))
    arms = [arm for arm in styles if arm in groups]
    others = [groups[arm] for arm in arms if not styles[arm].named]
    draw_faint(axes, (rows[["nfe", "mean"]].to_numpy(float) for rows in others))
    named = [arm for arm in arms if styles[arm].named]
    for k, arm in enumerate(named):
        rows, pen = groups[arm], styles[arm]
        shift = 1 + 0.02 * (k - (len(named) - 1) / 2)  # or the bars would hide each other
        axes.errorbar(
            rows["nfe"] * shift, rows["mean"], rows["sd"],
            color=pen.color, linestyle=pen.line, marker=pen.marker, linewidth=pen.width,
            zorder=pen.zorder, markersize=5, capsize=2, elinewidth=1, label=arm,
        )  # fmt: skip
    counts = sorted(table["nfe"].unique())
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(counts, [f"{int(n)}" for n in counts])
    axes.set_xlabel("network evaluations (NFE)")
    name_values(axes, f"{selection.metric} ({selection.direction} is better)")
    grid_lines(axes)
