"""The figures of a report as PNG files, with their captions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from . import figures
from .analysis import Analysis
from .figures.style import SETTINGS

PIXELS = 112
"""Of a page, for an inch of a figure."""
HALF = 6.5
"""Inches that half a page has room for."""


@dataclass(frozen=True)
class Picture:
    """One figure as written.

    Attributes:
        name: short name, also the file's stem.
        title: heading.
        caption: what it shows and how to read it.
        path: the PNG.
        width: inches that it was drawn for; its letters have their right size at PIXELS an inch.
    """

    name: str
    title: str
    caption: str
    path: Path
    width: float

    @property
    def pixels(self) -> int:
        """Width on a page at which its letters are as large as the text."""
        return round(self.width * PIXELS)

    @property
    def wide(self) -> bool:
        """Whether it needs the page's whole width."""
        return self.width > HALF


Drawing = tuple[str, str, str, Callable[[Analysis], Figure | None]]

DRAWINGS: tuple[Drawing, ...] = (
    (
        "samples",
        "The same noise through every arm",
        "Rows: arms, best first. Columns: network evaluations. One set of latents and classes, "
        "one seed: what differs between rows is what the arms differ in.",
        figures.draw_samples,
    ),
    (
        "nfe",
        "Quality against evaluations",
        "Mean over seeds at each run's last evaluation, bars of one standard deviation.",
        figures.draw_nfe,
    ),
    (
        "effects",
        "Effect of each arm",
        "Paired difference to the baseline with its 95 % t interval. Filled triangles are decided "
        "after Holm's correction and point where the metric moved; open circles are not decided. "
        "Small bars: percentile bootstrap, from 8 seeds on.",
        figures.draw_effects,
    ),
    (
        "curves",
        "Learning curves",
        "Mean over seeds of finished runs, bands of one standard deviation; with more than four "
        "coloured arms of the best and the baseline.",
        figures.draw_curves,
    ),
    (
        "losses",
        "Training loss",
        "Averaged in bins of steps; mean over seeds, bands as in the learning curves, diverged "
        "runs as far as they went. Losses of different arms need not be comparable.",
        figures.draw_losses,
    ),
    (
        "cost",
        "Cost against quality",
        "Mean and one standard deviation over seeds against seconds of training a run. "
        "Filled markers and the grey line: the Pareto front, arms that no other beats in both.",
        figures.draw_cost,
    ),
    (
        "factors",
        "Main effects",
        "What each setting does by itself, averaged over all others, relative to the grid's mean; "
        "95 % t intervals over seeds.",
        figures.draw_factors,
    ),
)


def draw_pictures(analysis: Analysis, output: Path) -> list[Picture]:
    """Draw every figure that the grid has data for."""
    pictures = []
    with mpl.rc_context(SETTINGS):
        for name, title, caption, draw in DRAWINGS:
            figure = draw(analysis)
            if figure is None:
                continue
            path = output / f"{name}.png"
            figure.savefig(path)
            pictures.append(Picture(name, title, caption, path, figure.get_figwidth()))
    return pictures
