"""Pausing the search for garbage."""

import gc

import pytest

from framework.garbage import uncollected


@pytest.fixture(autouse=True)
def restored():
    yield
    gc.enable()


def test_the_search_goes_on_after_an_error_too():
    with pytest.raises(ValueError, match="bad"), uncollected():
        assert not gc.isenabled()
        raise ValueError("bad")
    assert gc.isenabled()


def test_who_had_stopped_it_finds_it_stopped():
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()
