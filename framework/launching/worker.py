"""One run in a process of its own."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from framework.launching import ranks
from framework.runs import claims, outcomes

ELSEWHERE = 75  # EX_TEMPFAIL: another process runs this cell
OUTPUT = "output.txt"
Runner = Callable[[Path], Any]


def load_runner(name: str) -> Runner:
    """Return the function that 'package.module:function' names."""
    module, _, function = name.partition(":")
    runner: Runner = getattr(importlib.import_module(module), function)
    return runner


def work(
    run: Path,
    runner: str,
    environment: Mapping[str, str],
    threads: int,
    created: float,
    processes: int = 1,
    follows: bool = False,
) -> None:
    """Claim a run's folder and run it; the entry point of a forked process.

    Exits with `ELSEWHERE` if another process has it. What is printed goes to `output.txt`.

    Args:
        run: The run's folder.
        runner: The function that runs it, as 'package.module:function'.
        environment: What to add to the environment.
        threads: How many threads each process of the run has.
        created: When the run was submitted (Unix time).
        processes: How many processes to start for it.
        follows: Whether this is a process of a run that another one leads, and has claimed.
    """
    parent = os.getppid()
    claims.leave_to_parent()
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, ranks.stop_before_start)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ranks.SIGNALS)  # as they were when it was forked
    ranks.end_with(parent)
    os.environ.update(environment)
    _redirect(run / OUTPUT)
    with nullcontext(True) if follows else claims.claim(run) as mine:
        if not mine:
            sys.exit(ELSEWHERE)
        if not outcomes.is_wanted(run, created):
            return
        _limit_threads(threads)
        if not follows:
            outcomes.reset(run)
        sys.path.insert(0, str(run))  # its copies of plug-ins, before the originals
        function = load_runner(runner)
        if processes > 1:
            killed = partial(outcomes.blame, run)
            sys.exit(ranks.together(processes, partial(function, run), killed))
        function(run)


def _limit_threads(threads: int) -> None:
    """Divide the cores among runs: torch counted them before the fork."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _redirect(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
