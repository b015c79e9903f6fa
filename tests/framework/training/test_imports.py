"""What a run imports before its first step, which waits for it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("library", ["pandas", "scipy", "matplotlib", "torch._dynamo"])
def test_components_and_training_import_nothing_that_only_others_need(library, imported):
    assert library not in imported


@pytest.fixture(scope="module")
def imported():
    """The modules of a process that can train, and compiles nothing."""
    code = (
        "import framework.training, sys; from framework.plugins import load_installed;"
        "load_installed(); print(*sys.modules)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    ).stdout.split()
