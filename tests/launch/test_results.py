"""The page of findings from the command line."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_folder_stands_for_its_gin_files(tmp_path):
    folder = tmp_path / "gin"
    folder.mkdir()
    for name in ("b", "a"):
        claims = "[{'arm': 'x', 'is': 'worse', 'than': 'y'}]"
        (folder / f"{name}.gin").write_text(f"grid.name = '{name}'\ngrid.claims = {claims}\n")
    (folder / "scale.gin").write_text("train.steps = 3\n")
    said = subprocess.run(
        [sys.executable, ROOT / "launch/results.py", "gin"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.splitlines() == ["a: not run", "b: not run", "page: RESULTS.md"]
    assert "Made by `python" in (tmp_path / "RESULTS.md").read_text()
