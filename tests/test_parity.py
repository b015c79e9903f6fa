"""The released code's numbers, reproduced (tests/golden/README.md)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import parity

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(GOLDEN.glob("*.npz"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 2e-6)])
def test_every_quantity_agrees_with_the_release(case, dtype, tolerance):
    errors = dict(parity.compare(case, dtype))
    wrong = {name: value for name, value in errors.items() if not value <= tolerance}
    assert not wrong
    gradients = sum(name.startswith("gradient") for name in errors)
    assert gradients == len(list(parity.network_of(parity.Case(case), "net/").parameters()))


def test_all_golden_files_are_here():
    assert len(CASES) == 3


def test_the_command_reports_a_difference_and_fails(tmp_path, capsys):
    with np.load(CASES[0]) as arrays:
        changed = dict(arrays)
    changed["out_terminal"] = changed["out_terminal"] * 1.001
    np.savez(tmp_path / "changed.npz", **changed)
    assert parity.main([str(tmp_path / "changed.npz")]) == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if "BAD" in line]
    assert len(bad) == 1
    assert bad[0].endswith("terminal")


def test_the_command_runs_as_a_module():
    command = [sys.executable, "-m", "tests.parity", str(CASES[0])]
    done = subprocess.run(command, cwd=GOLDEN.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "BAD" not in done.stdout


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["missing.npz"], [__file__]])
def test_bad_usage_is_answered_in_a_line(arguments, capsys):
    assert parity.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
