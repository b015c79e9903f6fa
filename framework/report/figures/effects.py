"""Effect plot: each arm's paired difference to the baseline with its interval."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis import Analysis
from ..numbers import Span, readable_span
from .labels import arm_labels
from .lettering import folded, inches
from .style import BLUE, FAINT, INK, SOFT, VERMILLION, canvas, grid_lines

WIDTH = 6.0
MOST = 40
"""Arms shown; of more, the best and the worst."""


def draw_effects(analysis: Analysis) -> Figure | None:
    """Draw the forest plot; None without a baseline or a second arm.

    Filled markers are decided after Holm's correction, open ones are not; the direction of the
    triangle tells better from worse without colour.
    """
    if analysis.baseline is None or "difference" not in analysis.ranking:
        return None
    rows = analysis.ranking[analysis.ranking["difference"].notna()]
    if rows.empty:
        return None
    hidden = len(rows) - MOST
    if hidden > 0:
        rows = pd.concat([rows.head(MOST // 2), rows.tail(MOST // 2)])
    labels = arm_labels(map(str, analysis.ranking.index))
    names = [labels.of[str(arm)] for arm in rows.index]
    room = max(inches(name, 9) for name in names)
    keys = folded(labels.keys, max(room, 2.0), 8)
    said = _said(analysis, labels.of[analysis.baseline], WIDTH - max(room, inches(keys, 8)) - 0.3)
    lines = said.count("\n") + keys.count("\n")
    figure, (axes,) = canvas(WIDTH, 0.9 + 0.24 * len(rows) + 0.15 * lines)
    span = readable_span(rows)
    for k, (_, row) in enumerate(rows.iterrows()):
        _mark(axes, k, row, span)
        if hidden > 0 and k == MOST // 2 - 1:
            axes.axhline(k + 0.5, color=FAINT, linewidth=3)
            axes.text(span[1], k + 0.5, f"{hidden} arms not shown ", ha="right", va="center",
                      fontsize=7, color=SOFT)  # fmt: skip
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_xlim(*span)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), names)
    axes.text(-0.02, 1.0, keys, transform=axes.transAxes, ha="right", va="bottom", fontsize=8,
              color=SOFT)  # fmt: skip
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    grid_lines(axes, "x")
    axes.set_xlabel(said)
    return figure


def _said(analysis: Analysis, baseline: str, room: float) -> str:
    """What the axis shows, in lines that fit into `room` inches."""
    arrow = "left" if analysis.selection.direction == "lower" else "right"
    what = f"{analysis.selection.title}: difference to {baseline}"
    better = f"({arrow} is better)"
    whole = f"{what} {better}"
    return whole if inches(whole, 9) <= room else f"{folded(what, room, 9)}\n{better}"


def _mark(axes: Axes, k: int, row: pd.Series, span: Span) -> None:
    """Draw one arm; what leaves the axis ends in an arrow."""
    value, low, high = float(row["difference"]), float(row["low"]), float(row["high"])
    word = str(row["verdict"])
    color = BLUE if word == "better" else VERMILLION if word == "worse" else SOFT
    marker = "o" if word not in ("better", "worse") else "<" if value < 0 else ">"
    if np.isfinite(low):
        axes.plot(np.clip([low, high], *span), [k, k], color=color, linewidth=1.8,
                  solid_capstyle="butt", zorder=2)  # fmt: skip
        if np.isfinite(row["bootstrap_low"]):
            ends = np.clip([row["bootstrap_low"], row["bootstrap_high"]], *span)
            axes.plot(ends, [k, k], "|", color=color, markersize=8, zorder=2)
        inward = 0.02 * (span[1] - span[0])
        for edge, leaves, step in (
            (span[0], low < span[0], inward),
            (span[1], high > span[1], -inward),
        ):
            if leaves:
                axes.annotate("", (edge, k), (edge + step, k),
                              arrowprops={"arrowstyle": "->", "color": color})  # fmt: skip
    face = color if word in ("better", "worse") else "white"
    axes.plot([np.clip(value, *span)], [k], marker, color=color, markerfacecolor=face,
              markersize=6.5, markeredgewidth=1.4, zorder=3)  # fmt: skip
