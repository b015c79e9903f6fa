"""Runs the checks of the Triton kernels in a process with the interpreter on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "checks",
    ["interpreted.py", "interpreted_norms.py", "interpreted_joint.py", "interpreted_graphs.py"],
)
def test_kernels_in_the_interpreter(checks):
    file = Path(__file__).with_name(checks)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", str(file), "-x"],
        cwd=file.parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "[100%]" in run.stdout
