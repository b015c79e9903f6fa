"""One look for all figures: Okabe-Ito colours, each with a line style and a marker of its own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..analysis import Analysis
from .labels import arm_labels
from .lettering import folded, inches

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
INK, SOFT, FAINT = "#1a1a1a", "#767676", "#d9d9d9"
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
MOST_COLUMNS = 3
ROW = 0.17
"""Inches that a row of a legend takes."""
LEADERS = len(MARKERS)
"""Arms drawn in colour, next to the baseline; further ones are thin and grey."""

SETTINGS: dict[Any, Any] = {
    "font.size": 9.0,
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Pen:
    """How one arm is drawn in every figure."""

    color: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str
    width: float
    alpha: float
    zorder: float
    named: bool


def pens(arms: Iterable[str], baseline: str | None) -> dict[str, Pen]:
    """Give every arm its pen: black for the baseline, colours for the leaders, grey for the rest.

    Args:
        arms: best first.
        baseline: the arm to draw in black, None for none.
    """
    colors = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
    result, used = {}, 0
    for arm in arms:
        if arm == baseline:
            result[arm] = Pen(INK, "-", "X", 2.0, 1.0, 4.0, True)
        elif used < LEADERS:
            result[arm] = Pen(colors[used], LINES[used], MARKERS[used], 1.6, 1.0, 3.0, True)
            used += 1
        else:
            result[arm] = Pen(SOFT, "-", "", 0.6, 0.35, 1.0, False)
    return result


def canvas(width: float = 6.0, height: float = 3.8, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure without touching pyplot's global state."""
    figure = Figure(figsize=(width, height))
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(wspace=0.06)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def draw_faint(axes: Axes, lines: Iterable[NDArray[np.float64]]) -> None:
    """Draw the arms without a colour of their own, points (n, 2) each, all in one go."""
    axes.add_collection(
        LineCollection(list(lines), colors=SOFT, linewidths=0.6, alpha=0.35, zorder=1.0)
    )
    axes.autoscale_view()


def name_values(axes: Axes, text: str, room: float = 2.7) -> None:
    """Say beside the vertical axis, `room` inches high, what it shows."""
    axes.set_ylabel(folded(text, room, 9))


def grid_lines(axes: Axes, axis: str = "y") -> None:
    """Draw faint lines behind the data."""
    axes.set_axisbelow(True)
    axes.grid(True, axis="x" if axis == "x" else "y", color=FAINT, linewidth=0.6)


def legend(axes: Axes, analysis: Analysis, styles: Mapping[str, Pen], dots: bool = False) -> None:
    """Name the drawn arms below the axes, and say how many are grey (lines, or `dots`)."""
    handles, arms = axes.get_legend_handles_labels()
    labels = arm_labels(map(str, analysis.ranking.index))
    names = [labels.marked(arm, analysis.baseline) for arm in arms]
    grey = sum(not pen.named for pen in styles.values())
    if grey:
        handles = [
            *handles,
            Line2D([], [], color=SOFT, linewidth=0.8, alpha=0.6, linestyle="" if dots else "-",
                   marker="o" if dots else "", markerfacecolor="white"),
        ]  # fmt: skip
        names = [*names, f"{grey} more {'arm' if grey == 1 else 'arms'}"]
    figure = axes.get_figure(root=True)
    if handles and figure is not None:
        width = figure.get_figwidth()
        columns = _columns(names, width)
        rows = -(-len(names) // columns)
        figure.set_figheight(figure.get_figheight() + ROW * max(0, rows - 2))
        figure.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize=8,
            title=folded(labels.keys, width - 0.3, 8) or None, title_fontsize=8,
        )  # fmt: skip


def _columns(names: Sequence[str], width: float) -> int:
    """How many columns of a legend there is room for: its lines, gaps and letters of 8 points."""
    line_and_gaps = (SETTINGS["legend.handlelength"] + 2.8) * 8 / 72
    entry = line_and_gaps + max(inches(name, 8) for name in names)
    return max(1, min(MOST_COLUMNS, int(width / entry)))
