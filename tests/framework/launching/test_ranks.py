"""The processes of one run: what their ends come to."""

import os

import pytest

from framework.launching import ranks


class Ending:
    """A process that ends while it is looked at: told by its sentinel, before its code is known."""

    def __init__(self, code, looks):
        self.code, self.looks = code, looks
        self.sentinel, held = os.pipe()
        os.close(held)  # at its end: ready to be read

    @property
    def exitcode(self):
        self.looks -= 1
        return None if self.looks >= 0 else self.code

    def is_alive(self):
        return False

    def join(self, seconds=None):
        pass


def waited_for(*processes):
    try:
        return ranks._wait(processes)
    finally:
        for process in processes:
            os.close(process.sentinel)


@pytest.mark.parametrize("looks", range(5))
@pytest.mark.parametrize(("codes", "first"), [((1, 1), 0), ((0, 3), 1), ((1, -9), 1)])
def test_a_failure_counts_whenever_it_is_noticed(codes, first, looks):
    assert waited_for(*(Ending(code, looks) for code in codes)) == first


@pytest.mark.parametrize("looks", range(5))
def test_all_are_waited_for(looks):
    assert waited_for(Ending(0, looks), Ending(0, looks + 3)) is None
