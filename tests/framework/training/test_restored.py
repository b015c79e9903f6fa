"""What is made of a finished run: pictures, posters, scores measured again."""

import sys

import numpy as np
import pytest

from framework import UserError, register
from framework.command import USAGE_ERROR
from framework.protocols import Score
from framework.report import poster
from framework.training.again import Changes, measure_again
from framework.training.checkpoints import Checkpoints
from framework.training.drawing import Wanted, draw_pictures
from framework.training.real import held_out_scores
from framework.training.restored import restore
from launch import evaluate, sample
from tests.framework.training.plane import RANDOM, trained


@pytest.mark.parametrize("other", ["weights", "groups", "averages"])
def test_a_checkpoint_of_other_components_is_told_in_a_line(other, tmp_path):
    checkpoints = Checkpoints(trained(tmp_path / "run") / "checkpoints")
    state = checkpoints.load()
    if other == "weights":
        state["model"].popitem()
    elif other == "groups":
        state["optimizer"]["param_groups"] *= 2
    else:
        state["averages"].clear()
    checkpoints.save(state["step"], state)
    with pytest.raises(UserError, match="its checkpoint does not fit its configuration"):
        restore(tmp_path / "run")


def test_fewer_samples_than_a_metric_needs_are_refused(plugged, tmp_path):
    @register.metric("hungry")
    class Hungry:
        least_samples = 30

        def __init__(self, dataset):
            pass

        def __call__(self, samples, labels):
            return [Score("hungry", float(len(samples)), "lower")]

    run = restore(trained(tmp_path / "run", "evaluation.metrics = (@metrics.hungry,)"))
    with pytest.raises(UserError, match=r"metrics\.hungry needs 30 samples"):
        measure_again(run, Changes(samples=29))
    assert {each.score.value for each in measure_again(run, Changes(samples=30))} == {30.0}


def test_without_held_out_examples_there_is_nothing_to_judge(tmp_path):
    with pytest.raises(UserError, match="gaussian_mixture holds out no examples"):
        held_out_scores(restore(trained(tmp_path / "run")))


def test_single_images_are_those_of_the_sheet(tmp_path):
    run, drawn = restore(trained(tmp_path / "run")), tmp_path / "drawn"
    draw_pictures(run, Wanted([1], classes=[0], count=3), drawn)
    draw_pictures(run, Wanted([1], classes=[0], count=2, seed=1), drawn)
    names = {file.name for file in (drawn / "nfe=1").iterdir()}
    assert names == {"class=0-00000.png", "class=0-00001.png"}


POSTERS = {
    "<!-- counting 1 -->": Wanted([1]),
    "<!-- counting 2 -->": Wanted([1], weight=1.5),
    "nothing": Wanted([1], weights="trained"),
}


@pytest.mark.parametrize("shown", POSTERS)
def test_a_poster_shows_the_scores_of_what_it_shows(shown, plugged, tmp_path, monkeypatch):
    @register.metric("counting")
    class Counting:
        def __init__(self, dataset):
            self.count = 0

        def __call__(self, samples, labels):
            self.count += 1
            return [Score("counting", float(self.count), "lower")]

    metrics = "evaluation.metrics = (@metrics.counting,)"
    run, file = restore(trained(tmp_path / "run", *RANDOM, metrics)), tmp_path / "poster.svg"
    wanted = POSTERS[shown]
    pictures = np.zeros((wanted.count, 32, 32, 1), np.uint8)  # the plane holds nothing out
    monkeypatch.setattr(poster, "held_out_pictures", lambda *_: pictures)
    monkeypatch.setattr(poster, "held_out_scores", lambda _: [])
    poster.write_poster(run, wanted, file)
    assert ("counting" in shown) == ("counting" in file.read_text())
    assert "counting" not in shown or shown in file.read_text()


def test_weights_that_were_not_trained_are_not_measured_again_either(tmp_path):
    run = restore(trained(tmp_path / "run", *RANDOM))
    with pytest.raises(UserError, match=r"weight 3, and losses\.tvm trains 1 to 2"):
        measure_again(run, Changes(weight=3.0), append=True)


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "much"])
@pytest.mark.parametrize("program", [sample, evaluate])
def test_a_weight_is_a_positive_number(program, weight, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", "RUN", f"--w={weight}"])
    with pytest.raises(SystemExit) as end:
        program.arguments()
    assert end.value.code == USAGE_ERROR
    assert f"--w: {weight!r} is not a positive number" in capsys.readouterr().err


def test_what_is_dropped_in_training_is_not_in_pictures(dropping, tmp_path):
    wanted = Wanted([1], count=16, weights="trained")
    again = [draw_pictures(restore(dropping), wanted, tmp_path / name) for name in "ab"]
    assert again[0][0].read_bytes() == again[1][0].read_bytes()
