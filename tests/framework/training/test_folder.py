"""Which runs may have a folder that is there already, and what is said to the others."""

from pathlib import Path

import pytest

from framework import UserError
from framework.configuration import Configuration
from framework.training import folder

DIGITS = Path(__file__).parents[3] / "gin/digits.gin"


def run(**bound):
    sets = [f"train.{name} = {value}" for name, value in bound.items()]
    return Configuration.load([DIGITS], [*sets, "train.device = 'cpu'"]).resolve()


def test_more_steps_go_on_and_fewer_do_not(tmp_path):
    folder.prepare(tmp_path, run(steps=10))
    folder.prepare(tmp_path, run(steps=20))
    with pytest.raises(UserError, match=r"a run of 20 steps: train\.steps may be raised"):
        folder.prepare(tmp_path, run(steps=15))


def test_more_steps_do_not_go_on_where_the_first_would_have_been_others(tmp_path):
    cosine = {"schedule": "@schedules.cosine()"}
    folder.prepare(tmp_path, run(steps=10, **cosine))
    before = (tmp_path / "config.gin").read_text()
    with pytest.raises(UserError, match=r"of 20 steps the first would have had other learning"):
        folder.prepare(tmp_path, run(steps=20, **cosine))
    assert (tmp_path / "config.gin").read_text() == before


def test_another_run_is_told_what_differs_but_not_what_may(tmp_path):
    folder.prepare(tmp_path, run(steps=10))
    with pytest.raises(UserError, match=r"\(it differs in train\.batch_size, train\.seed\)"):
        folder.prepare(tmp_path, run(steps=20, seed=3, batch_size=8))
