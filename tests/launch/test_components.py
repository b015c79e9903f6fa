import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.components import program
from tests.registered import registry_kept

ROOT = Path(__file__).parents[2]
PLUGIN = '''
from typing import Literal

from framework import register
from framework.settings import Positive, Probability


@register.schedule("half_of_test")
class Half:
    """Half the rate [of all]."""

    def __init__(
        self,
        low: Probability,
        top: Positive | None = None,
        way: Literal["up", "down"] = "up",
        steps: tuple[int, ...] = (1, 2),
    ):
        pass

    def __call__(self, step: int, steps: int) -> float:
        return 0.5
'''


@pytest.fixture(autouse=True)
def plugin(tmp_path, monkeypatch):
    (tmp_path / "plug_of_listing.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with registry_kept():
        yield
    sys.modules.pop("plug_of_listing", None)


def listed(monkeypatch, capsys, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["launch/components.py", *arguments])
    program()
    return capsys.readouterr().out


def test_lists_every_kind(monkeypatch, capsys):
    out = listed(monkeypatch, capsys, "--plugin", "plug_of_listing")
    assert "schedule (schedules.*)\n" in out
    assert "normalization (normalizations.*), built with dim\n" in out
    assert "schedules.half_of_test" in out
    assert "Half the rate [of all]." in out
    assert "\n      low, top = None, way = 'up', steps = (1, 2)\n" in out


def test_lists_the_settings_of_one(monkeypatch, capsys):
    out = listed(monkeypatch, capsys, "--plugin", "plug_of_listing.py", "half_of_test")
    assert out.splitlines() == [
        "schedules.half_of_test  Half the rate [of all].",
        "  schedule of plug_of_listing",
        "    low    required  float, >= 0, <= 1",
        "    top    = None    float, > 0 or None",
        "    way    = 'up'    'up' or 'down'",
        "    steps  = (1, 2)  tuple[int, ...]",
    ]
    assert "schedules.half_of_test" in listed(monkeypatch, capsys, "schedule")


def test_lists_the_settings_of_a_root(monkeypatch, capsys):
    first, *rows = listed(monkeypatch, capsys, "grid").splitlines()
    assert first.startswith("grid  Which runs a grid has")
    assert "    metric       = 'fd'  str" in rows
    for root in ("train", "evaluation", "logging", "launch"):
        assert listed(monkeypatch, capsys, root).startswith(f"{root}  ")


def test_runs_as_a_script_from_anywhere(tmp_path):
    """The script's own folder must not hide the package `components`; unknown names end with 2."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch" / "components.py"), "half_of_tset"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "components.py: no kind and no component is called 'half_of_tset'"
    )
    assert "failed to import" not in done.stderr
    assert done.stderr.count("\n") == 1
