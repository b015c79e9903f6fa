"""Two processes that are started once: see `session` for what they do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.framework.distribution import session

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    program = [sys.executable, "-m", session.__name__, str(folder)]
    ended = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="session")
def codes(path):
    return torch.load(path / "codes.pt")


@pytest.fixture(scope="session")
def found(path, codes):
    assert codes["explored"] == 0
    return torch.load(path / "found.pt")
