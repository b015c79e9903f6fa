"""Learning curves with bands over seeds."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..analysis import Analysis
from .style import Pen, canvas, draw_faint, grid_lines, legend, name_values, pens

BINS = 80
"""Points along a training curve; the scalars between them are averaged."""


MOST_BANDS = 4
"""Bands that can be told apart; with more arms only the best and the baseline have one."""


def draw_curves(analysis: Analysis) -> Figure | None:
    """Draw the metric against training steps; None when it was evaluated once."""
    curves = analysis.scores.curves
    if curves["step"].nunique() < 2:
        return None
    figure, (axes,) = canvas()
    _lines(axes, analysis, curves[["arm", "seed", "step", "value"]])
    better = analysis.selection.direction
    name_values(axes, f"{analysis.selection.title} ({better} is better)")
    return figure


def draw_losses(analysis: Analysis) -> Figure | None:
    """Draw the training loss against steps, averaged in bins; None where none was logged."""
    frame = analysis.compared.frame
    scalars = frame[frame["kind"] == "scalar"]
    tag = _loss_tag([str(name) for name in scalars["metric"].unique()])
    if tag is None:
        return None
    rows = scalars[(scalars["metric"] == tag) & np.isfinite(scalars["value"])]
    rows = rows[["arm", "seed", "step", "value"]].astype({"arm": object})
    if rows.empty:
        return None
    width = max(1, -(-int(rows["step"].max()) // BINS))
    binned = rows.assign(step=(rows["step"] // width) * width + width // 2)
    means = binned.groupby(["arm", "seed", "step"], sort=False)["value"].mean().reset_index()
    figure, (axes,) = canvas()
    _lines(axes, analysis, means, markers=False)
    name_values(axes, tag)
    if (means["value"] > 0).all() and means["value"].max() > 20 * means["value"].min():
        axes.set_yscale("log")
    return figure


def _loss_tag(tags: list[str]) -> str | None:
    """The scalar that is the loss: the shortest tag with a part of that name."""
    losses = [tag for tag in tags if "loss" in tag.lower().split("/")]
    losses = losses or [tag for tag in tags if "loss" in tag.lower()]
    total = [tag for tag in losses if "total" in tag.lower()]
    return min(total or losses, key=len, default=None)


def _lines(axes: Axes, analysis: Analysis, rows: pd.DataFrame, markers: bool = True) -> None:
    """Draw mean and one standard deviation over seeds for each arm, best arms in colour."""
    spread = rows.groupby(["arm", "step"])["value"].agg(["mean", "std", "count"]).reset_index()
    groups = dict(iter(spread.groupby("arm", sort=False)))
    arms = [arm for arm in analysis.ranking.index if arm in groups]
    styles = pens(arms, analysis.baseline)
    faint = [groups[arm][["step", "mean"]].to_numpy(float) for arm in arms if not styles[arm].named]
    draw_faint(axes, faint)
    named = [arm for arm in arms if styles[arm].named]
    banded = named if len(named) <= MOST_BANDS else [named[0], analysis.baseline]
    few = [_line(axes, arm, groups[arm], styles[arm], markers, arm in banded) for arm in named]
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("training step" + (" (thin: of some seeds only)" if any(few) else ""))
    grid_lines(axes)
    legend(axes, analysis, styles)


def _line(axes: Axes, arm: str, data: pd.DataFrame, pen: Pen, markers: bool, banded: bool) -> bool:
    """Draw an arm's mean, thin where some of its seeds have no value: survivors flatter it.

    Returns:
        Whether there is such a part.
    """
    x, mean, sd = (data[name].to_numpy(float) for name in ("step", "mean", "std"))
    whole = (data["count"] == data["count"].max()).to_numpy()
    axes.plot(
        x, np.where(whole, mean, np.nan), color=pen.color, linestyle=pen.line,
        linewidth=pen.width, marker=pen.marker if markers and len(x) < 30 else "", markersize=4,
        zorder=pen.zorder, label=arm,
    )  # fmt: skip
    if not whole.all():
        ends = np.pad(~whole, 1)
        beside = ~whole | ends[:-2] | ends[2:]  # one point more, so that the line is not broken
        axes.plot(x, np.where(beside, mean, np.nan), color=pen.color, linewidth=pen.width / 3)
    if banded and np.isfinite(sd).any():
        low, high = (np.where(whole, mean + side * sd, np.nan) for side in (-1, 1))
        axes.fill_between(x, low, high, color=pen.color, alpha=0.13, linewidth=0)
    return not whole.all()
