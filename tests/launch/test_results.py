"""The page of findings from the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.stored import manifest, write_grid

ROOT = Path(__file__).parents[2]
CLAIMS = "[{'arm': 'clamp', 'is': 'worse', 'than': 'gap'}]"


def results(folder, *arguments):
    command = [sys.executable, ROOT / "launch/results.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path):
    """A folder with gin files of two findings, and one of none."""
    (tmp_path / "gin").mkdir()
    for name in ("b", "a"):
        text = f"grid.name = '{name}'\ngrid.claims = {CLAIMS}\n"
        (tmp_path / f"gin/{name}.gin").write_text(text)
    (tmp_path / "gin/scale.gin").write_text("train.steps = 3\n")
    return tmp_path


def test_a_folder_stands_for_its_gin_files(folder):
    write_grid(folder / "runs/b", name="b")
    said = results(folder, "gin")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == ["a: not run", "b: cannot tell", "page: RESULTS.md"]
    assert "Made by `python" in (folder / "RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("gin", "words"),
    [
        ("gin", "no run of gin has ended in runs: make some (python launch/slurm.py --gin gin/a"),
        ("gin/scale.gin", "no gin file with grid.claims in gin/scale.gin: name files that have"),
        ("empty", "no gin file with grid.claims in empty: name files that have"),
    ],
)
def test_a_page_that_would_say_nothing_is_not_written(folder, gin, words):
    (folder / "empty").mkdir()
    (folder / "runs/a").mkdir(parents=True)
    arms = [{"name": arm, "settings": {}} for arm in ("clamp", "gap")]
    manifest(name="a", arms=arms).write(folder / "runs/a")
    (folder / "RESULTS.md").write_text("what other runs have shown")
    said = results(folder, gin)
    assert (said.returncode, said.stdout) == (2, "")
    assert words in said.stderr and len(said.stderr.splitlines()) == 1
    assert (folder / "RESULTS.md").read_text() == "what other runs have shown"
    assert not (folder / "docs").exists()
