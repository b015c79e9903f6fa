"""One run in a process of its own."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from framework.launching import claims, outcomes

ELSEWHERE = 75  # EX_TEMPFAIL: another process runs this cell
OUTPUT = "output.txt"
Runner = Callable[[Path], Any]

_PR_SET_PDEATHSIG = 1


def load_runner(name: str) -> Runner:
    """Return the function that 'package.module:function' names."""
    module, _, function = name.partition(":")
    runner: Runner = getattr(importlib.import_module(module), function)
    return runner


def work(
    run: Path, runner: str, environment: Mapping[str, str], threads: int, created: float
) -> None:
    """Claim a run's folder and run it; the entry point of a forked process.

    Exits with `ELSEWHERE` if another process has it. What is printed goes to `output.txt`.
    """
    parent = os.getppid()
    claims.leave_to_parent()
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, _stop_before_start)
    _end_with(parent)
    os.environ.update(environment)
    _redirect(run / OUTPUT)
    with claims.claim(run) as mine:
        if not mine:
            sys.exit(ELSEWHERE)
        if outcomes.is_wanted(run, created):
            _limit_threads(threads)
            outcomes.reset(run)
            sys.path.insert(0, str(run))  # its copies of plug-ins, before the originals
            load_runner(runner)(run)


def _limit_threads(threads: int) -> None:
    """Divide the cores among runs: torch counted them before the fork."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _stop_before_start(number: int, frame: FrameType | None) -> None:
    """End at once: until the runner handles signals itself there is nothing to save."""
    sys.exit(128 + number)


def _redirect(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _end_with(parent: int) -> None:
    """Be told to stop when the parent is killed (Linux): an orphan would run on unseen."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was killed before that
        sys.exit(128 + signal.SIGTERM)
