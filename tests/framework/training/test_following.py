"""Followers: what is recorded there takes the first one's arguments and leaves nothing."""

import inspect

import pytest

from framework.results import RunWriter
from framework.training.following import NoWriter

METHODS = [name for name in vars(NoWriter) if not name.startswith("_")]


@pytest.mark.parametrize("name", METHODS)
def test_followers_take_what_the_first_one_takes(name):
    assert inspect.signature(getattr(NoWriter, name)) == inspect.signature(getattr(RunWriter, name))
