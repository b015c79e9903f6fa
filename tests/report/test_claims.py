"""Claims against grids of known truth, and the page that shows them."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from framework import UserError
from framework.grid.claims import Claim
from framework.grid.settings import Grid
from framework.report import figures, findings_page
from framework.report.analysis import analyse
from framework.report.claims import outcomes
from framework.report.findings_page import write_page
from framework.report.scalars import SUMMARIES, rise, roughness

from .stored import manifest
from .synthetic import Truth, build

EFFECTS = {"base": 0.0, "worse": 3.0, "better": -3.0, "same": 0.01}
TRUTH = Truth(effects=EFFECTS, seeds=5)


def words(claims, **changes):
    truth = Truth(effects=EFFECTS, seeds=5, seed_noise=0.3)
    for name, value in changes.items():
        setattr(truth, name, value)
    return [outcome.verdict for outcome in outcomes(build(truth), claims)]


def test_directions_are_found_refuted_and_left_open():
    claims = [
        Claim("worse", "worse", "base"),
        Claim("better", "worse", "base"),
        Claim("same", "better", "base"),
        Claim("worse", "higher", "better"),
    ]
    assert words(claims) == [
        "same direction", "opposite direction", "cannot tell", "same direction",
    ]  # fmt: skip


def test_the_difference_is_paired_and_its_p_value_corrected():
    claims = [Claim("worse", "worse", "base"), Claim("same", "worse", "base")]
    grid = build(Truth(effects=EFFECTS, seeds=5))
    alone, (both, other) = outcomes(grid, claims[:1])[0], outcomes(grid, claims)
    assert alone.pairs == 5 and alone.low < alone.difference < alone.high
    assert alone.difference == pytest.approx(alone.values[0] - alone.values[1])
    assert both.p == pytest.approx(2 * alone.p) and other.p >= both.p


def test_the_same_difference_in_all_seeds_decides_nothing():
    grid = build(Truth(effects={"base": 0.0, "other": 0.1}, seed_noise=0, block_noise=0, seeds=20))
    (found,) = outcomes(grid, [Claim("other", "worse", "base")])
    assert found.difference == pytest.approx(0.1) and np.isnan(found.p)
    assert found.verdict == "cannot tell"


TUNED = Truth(effects={"base": 0.0, "worse": 3.0}, seeds=5, variants=("1", "2", "3"))


def chosen_alone(grid):
    """Return the grid as it would be had nothing but the best variant been run."""
    rows = [frame[frame["variant"] == "2"] for frame in (grid.runs, grid.frame)]
    return replace(grid, runs=rows[0], frame=rows[1])


def test_tuned_arms_are_compared_at_their_best():
    claims = [
        Claim("worse", "worse", "base"),
        Claim("worse", "higher", "base", metric="loss/total", summary="roughness"),
        Claim("", "below", "bound", metric="fd"),
    ]
    grid = with_metric(build(TUNED), "bound", 1.5)
    found, alone = outcomes(grid, claims), outcomes(chosen_alone(grid), claims)
    assert [o.note for o in found[:2]] == ["arms at the best of up to 3 tuned settings"] * 2
    for tuned, plain in zip(found, alone, strict=True):
        assert tuned.verdict == plain.verdict and tuned.pairs == plain.pairs
        assert tuned.values == plain.values


def test_a_drawn_scalar_is_that_of_the_chosen_setting():
    grid = build(TUNED)
    drawn, alone = (
        figures.draw_scalar(analyse(g), "loss/total").axes[0].lines
        for g in (grid, chosen_alone(grid))
    )
    assert len(drawn) == len(alone) == 2
    for tuned, plain in zip(drawn, alone, strict=True):
        np.testing.assert_array_equal(tuned.get_ydata(), plain.get_ydata())


def test_runs_that_diverged_count_as_worse():
    lost = {("better", seed): 50 for seed in range(5)}
    claims = [Claim("better", "worse", "base"), Claim("worse", "worse", "base")]
    (first, second) = outcomes(build(Truth(effects=EFFECTS, seeds=5, diverged=lost)), claims)
    assert first.verdict == "same direction" and first.note == "diverged: 5 of 5 against 0 of 5"
    assert second.note == ""


def test_what_has_not_run_is_shown_so():
    claims = [Claim("worse", "worse", "base"), Claim("better", "better", "base")]
    assert [o.verdict for o in outcomes(None, claims)] == ["not run"] * 2
    states = {("worse", seed): "queued" for seed in range(3)}
    assert words(claims, states=states) == ["unfinished: 7 of 10 runs", "same direction"]


def test_at_equal_time_a_cheaper_third_arm_has_no_say():
    speed = {"base": 0.05, "worse": 0.05, "better": 0.001}
    assert words([Claim("worse", "worse", "base", equal="time")], speed=speed) == ["same direction"]


def paced(factors):
    """Return a grid whose runs of `worse` take `factors` times their seconds, by seed."""
    grid = build(Truth(effects=EFFECTS, seeds=5))
    factor = grid.runs["seed"].map(factors).where(grid.runs["arm"] == "worse").fillna(1.0)
    return replace(grid, runs=grid.runs.assign(seconds=factor * grid.runs["seconds"]))


@pytest.mark.parametrize(
    ("slow", "note", "pairs"),
    [((), "", 5), ((1, 3), "common time in 3 of 5 seeds", 3), (range(5), "no common time", 0)],
)
def test_at_equal_time_runs_without_a_common_one_are_said_to_have_none(slow, note, pairs):
    grid = paced({seed: 6.0 if seed in slow else 1.0 for seed in range(5)})  # evaluated five times
    claims = [Claim("worse", "worse", "base", equal="time"), Claim("worse", "worse", "base")]
    at_time, at_end = outcomes(grid, claims)
    assert (at_time.note, at_time.pairs) == (note, pairs)
    assert at_time.verdict == ("same direction" if pairs else "cannot tell")
    assert at_end.verdict == "same direction" and at_end.note == ""
    (alone,) = outcomes(grid, claims[:1])
    assert (alone.note, alone.pairs) == (note, pairs)


def test_an_unknown_arm_is_named():
    with pytest.raises(UserError, match=r"'wors'.*did you mean worse"):
        words([Claim("wors", "worse", "base")])


def with_metric(grid, name, factor):
    """Return a grid with a second metric, `factor` times the first."""
    rows = grid.frame[grid.frame["kind"] == "evaluation"]
    other = rows.assign(metric=name, value=factor * rows["value"])
    frame = pd.concat([grid.frame, other], ignore_index=True).astype({"metric": "category"})
    return replace(grid, frame=frame)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.5, "same direction"), (0.9, "opposite direction")]
)
def test_a_bound_has_to_hold_everywhere(factor, verdict):
    grid = with_metric(build(Truth(effects=EFFECTS, blocks=1)), "bound", factor)
    (found,) = outcomes(grid, [Claim("", "below", "bound", metric="fd", nfe=1)])
    assert found.verdict == verdict
    assert found.note.endswith(f"smallest factor {factor:g}")


def test_a_metric_and_its_bound_are_drawn_along_training_in_one_picture():
    grid = with_metric(build(Truth(effects=EFFECTS, blocks=1)), "bound", 1.5)
    figure = figures.draw_bound(analyse(grid), Claim("", "below", "bound", metric="fd", nfe=1))
    axes = figure.axes[0]
    bounds, metrics = axes.lines[: len(EFFECTS)], axes.lines[len(EFFECTS) :]
    assert axes.get_ylabel().replace("\n", " ") == "bound (filled), fd (open)"
    assert {line.get_markerfacecolor() for line in metrics} == {"white"}
    for above, below in zip(bounds, metrics, strict=True):
        assert above.get_color() == below.get_color() == above.get_markerfacecolor()
        assert len(above.get_xdata()) == 5
        np.testing.assert_allclose(above.get_ydata(), 1.5 * below.get_ydata())


def test_each_bound_of_a_metric_has_a_picture_of_its_own(tmp_path):
    grid = with_metric(build(Truth(effects=EFFECTS, blocks=1)), "bound", 1.5)
    claims = [Claim("", "below", "bound", metric="fd", nfe=nfe) for nfe in (1, 2)]
    drawn = findings_page._drawn(analyse(grid), outcomes(grid, claims), tmp_path, tmp_path)
    assert len({picture.path for picture in drawn[1:]}) == 2


def test_a_bound_that_was_evaluated_once_is_not_drawn():
    grid = with_metric(build(Truth(effects=EFFECTS, evaluations=1)), "bound", 1.5)
    assert figures.draw_bound(analyse(grid), Claim("", "below", "bound", metric="fd")) is None


def test_curves_become_numbers():
    steady, jumpy = np.array([8.0, 4.0, 2.0, 1.0]), np.array([8.0, 1.0, 5.0, 1.0])
    assert roughness(steady) == pytest.approx(0, abs=1e-12) and roughness(jumpy) > 1
    assert rise(steady) == 1.0 and rise(jumpy) == 5.0


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_curve_that_breaks_and_mends_has_no_number_and_counts_as_lost(value):
    grid = build(Truth(effects={"base": 0.0, "spiky": 0.0}))
    rows = grid.frame
    at = (rows["kind"] == "scalar") & (rows["arm"] == "spiky") & (rows["seed"] == 1)
    rows.loc[rows.index[at][20], "value"] = value
    claims = [Claim("spiky", "lower", "base", metric="loss/total", summary=s) for s in SUMMARIES]
    for found in outcomes(grid, claims):
        assert found.pairs == 2
        assert found.note == "diverged or without a number: 1 of 3 against 0 of 3"


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"arm": "a", "is": "better"}, "lacks 'than'"),
        ({"is": "better", "than": "b"}, "lacks 'arm'"),
        ({"arm": "a", "is": "nicer", "than": "b"}, "'is' is one of better, worse"),
        ({"arm": "a", "is": "better", "than": "b", "nef": 1}, "no 'nef'; did you mean nfe"),
        ("a is better", "needs {'arm'"),
    ],
)
def test_a_claim_of_another_form_is_refused_where_it_stands(claim, message):
    with pytest.raises(UserError, match=r"grid.claims\[0\].*" + message):
        Grid(claims=[claim])


def test_the_page_shows_verdicts_pictures_and_what_has_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(findings_page, "load_grid", lambda folder: build(TRUTH, folder))
    (tmp_path / "runs/synthetic").mkdir(parents=True)
    manifest().write(tmp_path / "runs/synthetic")
    claims = "[{'arm': 'worse', 'is': 'worse', 'than': 'base', 'published': '5 / 4'}]"
    for name in ("synthetic", "absent"):
        said = f"'About {name} at 0.5. More to know'"
        text = f"grid.name = '{name}'\ngrid.description = {said}\ngrid.claims = {claims}\n"
        (tmp_path / f"{name}.gin").write_text(text)
    files, page = [tmp_path / "synthetic.gin", tmp_path / "absent.gin"], tmp_path / "PAGE.md"
    sections = write_page(files, [tmp_path / "runs"], page, tmp_path / "docs", "a command")
    assert [section.verdicts for section in sections] == ["same direction", "not run"]
    text = page.read_text()
    assert "Of 2 claims 1 have been tested: 1 came out in the direction that was expected" in text
    assert "| worse worse than base | 5 / 4 |" in text
    assert "About absent at 0.5. More to know. Not run." in text
    assert "| About absent at 0.5 | not run |" in text
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (tmp_path / picture).is_file()
    assert "docs/synthetic_effects.png" in text
    assert margin(tmp_path / "docs/synthetic_effects.png").min() == 1, "a label is cut"


def test_an_arm_without_all_its_seeds_says_so_and_the_picture_shows_a_seed_of_all(
    tmp_path, monkeypatch
):
    states = {("worse", 0): "queued", ("worse", 3): "queued"}
    truth = Truth(effects=EFFECTS, seeds=5, states=states)
    monkeypatch.setattr(findings_page, "load_grid", lambda folder: build(truth, folder))
    (tmp_path / "runs/synthetic").mkdir(parents=True)
    manifest().write(tmp_path / "runs/synthetic")
    claims = "[{'arm': 'worse', 'is': 'worse', 'than': 'base'}]"
    file = tmp_path / "synthetic.gin"
    file.write_text(f"grid.name = 'synthetic'\ngrid.claims = {claims}\n")
    page = tmp_path / "PAGE.md"
    (section,) = write_page([file], [tmp_path / "runs"], page, tmp_path / "docs", "a command")
    assert section.verdicts == "unfinished"
    assert "| worse (3 of 5 seeds) |" in page.read_text() and "| base |" in page.read_text()
    figure = figures.draw_scalar(analyse(build(truth)), "loss/total")
    assert figure.axes[0].get_ylabel() == "loss/total, seed 1"
    assert len(figure.axes[0].lines) == len(EFFECTS)


def margin(picture):
    """Return the outermost pixels of a picture, 1 where they are white."""
    image = imread(picture)[..., :3]
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
