"""The same-noise sample matrix: arms as rows, NFE as columns."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..analysis import Analysis
from ..grid_results import Pictures
from .labels import arm_labels
from .lettering import folded, inches
from .style import FAINT, SOFT

Image = NDArray[np.uint8]

WIDTH = 6.0
"""Inches that the pictures take; their names come beside."""
COLUMN_GAP, ROW_GAP = 0.03, 0.06
"""Room between panels, as parts of their width and height."""
MOST_ARMS = 40
MOST_NFES = 3
PREFERRED = (1, 2, 4)


def draw_samples(analysis: Analysis) -> Figure | None:
    """Draw each arm's samples from one set of latents and classes; None where none were kept.

    Every arm is shown by the run of the same seed, the first that all ranked arms finished or
    failing that each arm's own first, at its last kept step.
    """
    strips: dict[str, dict[int, Pictures]] = {}
    for arm, directory in _runs(analysis).items():
        found = _last_step(analysis.grid.reader.samples(analysis.grid.directory / directory))
        if found:
            strips[arm] = found
    counts = sorted({nfe for found in strips.values() for nfe in found})
    if not counts:
        return None
    wanted = [n for n in PREFERRED if n in counts] or counts
    return _matrix(analysis, strips, wanted[:MOST_NFES])


def _runs(analysis: Analysis) -> dict[str, str]:
    """One run an arm, best arms first, of one seed where possible."""
    final = analysis.scores.final.merge(
        analysis.runs[["arm", "variant", "seed", "directory"]], on=["arm", "variant", "seed"]
    )
    scored = set(final["arm"])
    shown = [str(arm) for arm in analysis.ranking.index if arm in scored]
    if analysis.baseline in shown[MOST_ARMS:]:
        shown = [*shown[: MOST_ARMS - 1], analysis.baseline]
    shown = shown[:MOST_ARMS]
    final = final[final["arm"].isin(shown)]
    counts = final["seed"].value_counts()
    order = {seed: k for k, seed in enumerate(sorted(counts.index, key=lambda s: (-counts[s], s)))}
    first = final.assign(turn=final["seed"].map(order)).sort_values("turn", kind="stable")
    chosen = first.drop_duplicates("arm").set_index("arm")["directory"]
    return {arm: str(chosen[arm]) for arm in shown}


def _last_step(samples: dict[tuple[int, int], Pictures]) -> dict[int, Pictures]:
    """Pictures of the last step that kept some, by NFE."""
    if not samples:
        return {}
    last = max(step for step, _ in samples)
    return {nfe: pictures for (step, nfe), pictures in samples.items() if step == last}


def _matrix(analysis: Analysis, strips: dict[str, dict[int, Pictures]], nfes: list[int]) -> Figure:
    """Lay the strips out."""
    first = next(iter(next(iter(strips.values())).values()))
    pick = _pick(first, 8 if len(nfes) > 2 else 10)
    labels = arm_labels(map(str, analysis.ranking.index))
    names = {arm: labels.marked(arm, analysis.baseline) for arm in strips}
    room = max(inches(name, 8) for name in names.values())
    keys = folded(labels.keys, max(room, 2.0), 8)
    left, top = max(room, inches(keys, 8)) + 0.15, 0.3 + 0.13 * keys.count("\n")
    height, width = _strip(first[0], pick).shape[:2]
    panel = WIDTH / (len(nfes) + COLUMN_GAP * (len(nfes) - 1))
    row = panel * height / width
    rows = row * (len(strips) + ROW_GAP * (len(strips) - 1))
    size = (left + WIDTH + 0.05, top + rows + 0.02)
    figure = Figure(figsize=size, constrained_layout=False)
    panels = figure.subplots(len(strips), len(nfes), squeeze=False)
    figure.subplots_adjust(left=left / size[0], right=1 - 0.05 / size[0], top=1 - top / size[1],
                           bottom=0.02 / size[1], wspace=COLUMN_GAP, hspace=ROW_GAP)  # fmt: skip
    for y, (arm, found) in enumerate(strips.items()):
        for x, nfe in enumerate(nfes):
            axes = panels[y][x]
            _show(axes, _strip(found[nfe][0], pick) if nfe in found else None)
            if y == 0:
                axes.set_title(f"{nfe} NFE", fontsize=9, loc="center")
        panels[y][0].set_ylabel(names[arm], rotation=0, ha="right", va="center", fontsize=8)
    panels[0][0].annotate(keys, (0, 1), (-4, 8), "axes fraction", textcoords="offset points",
                          ha="right", fontsize=8, color=SOFT)  # fmt: skip
    return figure


def _show(axes: Axes, strip: Image | None) -> None:
    """Show pictures without a frame, and a grey field in the place of those that are not there."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_facecolor(FAINT)
    if strip is not None:
        axes.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")


def _pick(pictures: Pictures, most: int) -> list[int]:
    """Which of the fixed latents to show: one a class, in turn, as far as there is room."""
    images, labels = pictures
    if labels is None:
        return list(range(min(most, len(images))))
    first = [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)]
    rest = [k for k in range(len(images)) if k not in set(first)]
    if len(first) > most:
        first = [first[k] for k in np.linspace(0, len(first) - 1, most).astype(int)]
    return (first + rest)[:most]


def _strip(images: Image, pick: list[int]) -> Image:
    """Put images side by side, one white line between them; large ones are thinned."""
    stride = max(1, images.shape[1] // 128)
    chosen = [images[k][::stride, ::stride] for k in pick if k < len(images)]
    gap = np.full((chosen[0].shape[0], 1, chosen[0].shape[2]), 255, np.uint8)
    parts = [part for image in chosen for part in (image, gap)]
    strip = np.concatenate(parts[:-1], axis=1)
    return strip[..., 0] if strip.shape[-1] == 1 else strip
