"""What a run imports before its first step, which waits for it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("library", ["pandas", "scipy", "matplotlib"])
def test_training_imports_nothing_that_only_reading_needs(library, imported):
    assert library not in imported


@pytest.fixture(scope="module")
def imported():
    """The modules of a process that can train."""
    code = "import framework.training, sys; print(*sys.modules)"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    ).stdout.split()
