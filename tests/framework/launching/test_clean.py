"""Runs are checked in a clean state: what one does to the interpreter does not reach another."""

import sys

import pytest

from framework.configuration import Configuration, Resolved
from framework.errors import UserError
from framework.grid.plan import Plan, plan
from framework.launching.clean import CleanProcess
from framework.probing import probe
from tests.registered import registry_kept

from .conftest import REPOSITORY

PLUGIN = """
import sys
from framework import register

LEAKED = "left_behind" in sys.modules
sys.modules["left_behind"] = sys  # whoever imports this next finds it

@register.schedule("toy_of_clean")
class Toy:
    built = 0
    def __init__(self, start: float = 1.0):
        Toy.built += 1
        if Toy.built > 1 or LEAKED:
            raise ValueError("another run was here before")
    def __call__(self, step: int, steps: int) -> float:
        return 1.0
"""


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Return a function that plans a grid with a plug-in."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make() -> Plan:
        (tmp_path / "clean_plugin.py").write_text(PLUGIN)
        file = tmp_path / "grid.gin"
        file.write_text(
            f"import clean_plugin\ninclude '{REPOSITORY}/gin/digits.gin'\n"
            "train.schedule = @toy_of_clean()\ngrid.seeds = 2\n"
            "grid.axes = {'losses.tvm.target_decay': [0.9, 0.99]}\n"
        )
        return plan(Configuration.load([file]), "toy")

    with registry_kept():
        yield make
    for name in ("clean_plugin", "left_behind"):
        sys.modules.pop(name, None)


def plugin_state(resolved: Resolved) -> tuple[str, bool]:
    module = sys.modules["clean_plugin"]
    return resolved.identity, module.LEAKED


def test_no_run_sees_what_another_or_the_launcher_imported(planned):
    with CleanProcess() as clean:
        made = planned()
        assert sys.modules["left_behind"] is sys
        found = clean.each(plugin_state, [cell.resolved for cell in made.cells], 2)
        assert found == [(cell.identity, False) for cell in made.cells]
        assert set(probe.check(made, each=clean.each)) == {arm.name for arm in made.arms}
        clean.read(made)


def test_a_run_that_reads_back_as_another_is_refused(planned):
    with CleanProcess() as clean:
        made = planned()
        vars(made.cells[1].resolved)["identity"] = "0" * 64
        with pytest.raises(UserError, match=r"arm 'target_decay=0\.9': its configuration, written"):
            clean.read(made)


def test_progress_is_told_and_a_killed_process_is_an_error(planned):
    with CleanProcess() as clean:
        cells = [cell.resolved for cell in planned().cells]
        seen = []
        clean.each(plugin_state, cells, 2, seen.append)
        assert seen == [1, 2, 3, 4]
        clean._process.kill()
        with pytest.raises(UserError, match="was killed: too little memory"):
            clean.each(plugin_state, cells, 2)
