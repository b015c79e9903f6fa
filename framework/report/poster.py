"""One picture of what a run draws: a panel a number of evaluations, real images last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

from framework.errors import UserError
from framework.results import read_run
from framework.results.names import plain_metric
from framework.training.drawing import Wanted, images_of, weight_of
from framework.training.pictures import Images
from framework.training.real import held_out_pictures, held_out_scores
from framework.training.restored import Restored

from .figures.style import INK, SETTINGS, SOFT, canvas

NAMES = {"agreement": "class agreement", "fd": "FD"}
INCHES = 0.27  # of an image
LEAST = 7  # images that a panel has room for: its scores take as much


@dataclass(frozen=True)
class Panel:
    """Images (n, H, W, 1 or 3), a row a class, with what stands above them."""

    title: str
    scores: str
    images: Images


def write_poster(run: Restored, wanted: Wanted, path: Path) -> None:
    """Write the panels of a run side by side, each with the run's recorded scores above it.

    Raises:
        UserError: a class or NFE that the run does not have, or a file that cannot be written.
    """
    classes = list(wanted.classes) or list(range(run.experiment.train.dataset.num_classes))
    panels = []
    for asked in wanted.nfe or run.experiment.evaluation.counts:
        images, nfe = images_of(run, wanted, classes, asked)
        title = f"{nfe} evaluation{'s' if nfe > 1 else ''}"
        panels.append(Panel(title, _recorded(run, wanted, nfe), images))
    real = [(score.name, score.value) for score in held_out_scores(run)]
    pictures = held_out_pictures(run.experiment.train.dataset, classes, wanted.count)
    panels.append(Panel("real test images", _shown(real), pictures))
    try:
        _draw(panels, wanted.count, path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: choose another --poster") from error


def _recorded(run: Restored, wanted: Wanted, nfe: int) -> str:
    """Return what was measured as is drawn, at the checkpoint's step, of the most samples."""
    rows = read_run(run.directory).evaluations
    rows = rows[(rows["step"] == run.step) & (rows["nfe"] == nfe)]
    rows = rows[(rows["weights"] == wanted.weights) & (rows["w"] == weight_of(run, wanted))]
    rows = rows[rows["samples"] == rows["samples"].max()]
    means = rows.groupby("metric", sort=False)["value"].mean()
    return _shown(zip(map(str, means.index), means, strict=True))


def _shown(scores: Iterable[tuple[str, float]]) -> str:
    names = [(plain_metric(name), value) for name, value in scores]
    return ", ".join(f"{NAMES.get(name, name)} {value:.3g}" for name, value in names)


def _draw(panels: Sequence[Panel], columns: int, path: Path) -> None:
    rows = len(panels[0].images) // columns
    width, height = (INCHES * max(LEAST, number) for number in (columns, rows))
    with mpl.rc_context(SETTINGS):
        figure, axes = canvas(width * len(panels) + 0.4, height + 0.6, len(panels))
        for ax, panel in zip(axes, panels, strict=True):
            ax.imshow(_sheet(panel.images, columns), cmap="gray", interpolation="nearest")
            ax.set_title(panel.title, color=INK, pad=14)
            ax.text(0, 1.015, panel.scores, transform=ax.transAxes, fontsize=7.5, color=SOFT)
            ax.set_axis_off()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, bbox_inches="tight", pad_inches=0.05)


def _sheet(images: Images, columns: int) -> Images:
    """Return images (n, H, W, C) as one of rows of `columns`."""
    n, height, width, channels = images.shape
    grid = images.reshape(n // columns, columns, height, width, channels).swapaxes(1, 2)
    sheet: Images = np.squeeze(grid.reshape(n // columns * height, columns * width, channels))
    return sheet
