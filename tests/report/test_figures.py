"""Figures have room for the names in them."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.image import imread
from matplotlib.text import Text

from framework.report import analyse
from framework.report.figures import draw_curves, draw_factors, draw_samples
from framework.report.figures.lettering import folded, inches
from framework.report.figures.style import SETTINGS
from framework.report.pictures import DRAWINGS, draw_pictures

from .synthetic import Truth, build

LEVELS = {
    "losses.tvm.target_decay_of_weights": ("0.9", "0.99"),
    "train.optimizer_of_all_parameters": ("@optimizers.adamw()", "@optimizers.lion()"),
    "models.dit.normalization_of_blocks": ("@normalizations.rms", "@normalizations.layer"),
}


def long_arms():
    """Eight arms whose names are long and differ in their middle, the fourth the baseline."""
    words = ("dynamic_tanh", "layer_norm", "nothing_at_all", "root_mean_square")
    names = [f"normalization_{of}_replaced_by_{word}_everywhere_in_the_network"
             for of in ("of_blocks", "of_queries") for word in words]  # fmt: skip
    effects = {name: 0.5 * k for k, name in enumerate(names)}
    return build(Truth(effects=effects, level=1e4), baseline=names[3])


def long_product():
    """A product of three settings with an arm beside it."""
    settings = {}
    for levels in product(*LEVELS.values()):
        short = (text.rpartition(".")[2].strip("()") if "@" in text else text for text in levels)
        keys = (binding.rpartition(".")[2] for binding in LEVELS)
        name = ",".join(f"{key}={value}" for key, value in zip(keys, short, strict=True))
        settings[name] = dict(zip(LEVELS, levels, strict=True))
    settings["an_arm_beside_the_product_of_settings"] = {"models.dit.qk_norm": "@qk_norms.none"}
    effects = {name: 0.5 * k for k, name in enumerate(settings)}
    return build(Truth(effects=effects, settings=settings, axes=LEVELS, level=1e4))


def with_long_metric(grid):
    name = "agreement_of_a_classifier_with_many_words@digits-1a2b3c4d"
    metric = grid.frame["metric"].cat.rename_categories({"fd@digits-1a2b3c4d": name})
    return replace(grid, frame=grid.frame.assign(metric=metric), metric=name.partition("@")[0])


@pytest.mark.parametrize("made", [long_arms, long_product])
@pytest.mark.parametrize("changed", [lambda grid: grid, with_long_metric])
def test_no_name_is_cut(made, changed, tmp_path):
    pictures = draw_pictures(analyse(changed(made())), tmp_path)
    assert len(pictures) == len(DRAWINGS) - (made is long_arms)  # no factors
    for picture in pictures:
        image = imread(picture.path)[..., :3]
        edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert edges.min() == 1, f"{picture.name}: something is cut"


def test_pixels_of_samples_are_square():
    with rc_context(SETTINGS):
        figure = draw_samples(analyse(long_product()))
    for axes in figure.axes:
        box, (image,) = axes.get_window_extent(), axes.images
        rows, columns = image.get_array().shape[:2]
        assert box.width / columns == pytest.approx(box.height / rows, rel=0.02)


def test_titles_of_factors_stand_apart():
    with rc_context(SETTINGS):
        figure = draw_factors(analyse(long_product()))
        figure.draw_without_rendering()
        titles = figure.findobj(lambda found: isinstance(found, Text) and "%" in found.get_text())
        boxes = [title.get_window_extent() for title in titles]
    assert len(boxes) == 3
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_lines_are_no_wider_than_wanted():
    text = "agreement at 1 NFE: difference to a_long_name_of_an_arm (right is better)"
    lines = folded(text, 2.0, 9).splitlines()
    assert " ".join(lines) == text
    assert len(lines) > 1 and max(inches(line, 9) for line in lines) < 2.2
    assert folded(text, 20.0, 9) == text
    assert inches("\n".join(lines), 9) == max(inches(line, 9) for line in lines)
    assert inches("", 9) == 0


@pytest.mark.parametrize("lost", [False, True])
def test_a_mean_of_the_seeds_that_are_left_is_a_thin_line(lost):
    grid = build(Truth(effects={"a": 0.0, "b": 1.0}))
    rows = grid.frame
    late = rows["step"] > rows["step"].max() / 2
    gone = late & (rows["arm"] == "b") & (rows["seed"] == 0) & (rows["kind"] == "evaluation")
    figure = draw_curves(analyse(replace(grid, frame=rows[~gone]) if lost else grid))
    (axes,) = figure.axes
    thin = [line for line in axes.lines if line.get_label() not in ("a", "b")]
    assert len(thin) == lost
    assert ("thin" in axes.get_xlabel()) == lost
    if lost:
        (whole,) = (line for line in axes.lines if line.get_label() == "b")
        drawn, left = (np.isfinite(line.get_ydata()) for line in (whole, thin[0]))
        assert (drawn | left).all() and (drawn & left).sum() == 1
