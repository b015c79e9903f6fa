"""The same-noise sample matrix: arms as rows, NFE as columns."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..analysis import Analysis
from ..grid_results import Pictures
from .labels import arm_labels
from .style import FAINT, SOFT

Image = NDArray[np.uint8]

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
    height = first[0].shape[1] / first[0].shape[2]
    cell = 6.0 / len(nfes)
    row = cell / len(pick) * height
    figure = Figure(figsize=(8.2, 0.35 + (row + 0.06) * len(strips)), constrained_layout=False)
    panels = figure.subplots(len(strips), len(nfes), squeeze=False)
    top = 1 - 0.3 / figure.get_figheight()
    figure.subplots_adjust(left=0.26, right=0.995, top=top, bottom=0.005, wspace=0.03, hspace=0.06)
    for y, (arm, found) in enumerate(strips.items()):
        for x, nfe in enumerate(nfes):
            axes = panels[y][x]
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            axes.set_facecolor(FAINT)
            if nfe in found:
                axes.imshow(_strip(found[nfe][0], pick), cmap="gray", vmin=0, vmax=255,
                            interpolation="nearest", aspect="auto")  # fmt: skip
            if y == 0:
                axes.set_title(f"{nfe} NFE", fontsize=9, loc="center")
        panels[y][0].set_ylabel(
            labels.marked(arm, analysis.baseline), rotation=0, ha="right", va="center", fontsize=8
        )
    if labels.keys:
        panels[0][0].annotate(
            labels.keys, (0, 1), (-4, 8), "axes fraction", textcoords="offset points", ha="right",
            fontsize=8, color=SOFT,
        )  # fmt: skip
    return figure


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
