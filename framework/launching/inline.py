"""Runs in this very process, one after another."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from framework.errors import UserError
from framework.launching import executors
from framework.launching.job_files import JOBS
from framework.launching.worker import load_runner
from framework.runs import claims, outcomes


def run_cells(
    grid: Path,
    cells: Sequence[str],
    created: float,
    runner: str,
    fail_fast: bool,
    said: Callable[[str], None],
) -> bool:
    """Run cells in order; return whether all of them ran, or were told to end early.

    Args:
        grid: The grid's folder.
        cells: Run folders below it.
        created: When they were submitted; what has ended since is left alone.
        runner: The function that runs one, as 'package.module:function'.
        fail_fast: Whether a failed run ends it all.
        said: Receives a line for each run that begins or ends.
    """
    function = load_runner(runner)
    for directory in cells:
        run = grid / directory
        with claims.claim(run) as mine:
            if not mine or not outcomes.is_wanted(run, created):
                continue
            outcomes.reset(run)
            said(f"{directory}: running")
            failed = _run(grid, run, function)
        state = outcomes.conclude(run, int(failed))
        said(f"{directory}: {state}")
        if state == "stopped" or (state == "failed" and fail_fast):
            return False
    return True


def _run(grid: Path, run: Path, function: Callable[[Path], object]) -> bool:
    """Run one cell; return whether it raised. Its traceback is kept in `output.txt`."""
    try:
        executors.run_inline(grid / JOBS, function, run)
    except UserError as error:
        (run / "output.txt").write_text(f"{error}\n")
    except Exception:  # noqa: BLE001  whatever a run raises, the next one has its turn
        (run / "output.txt").write_text(traceback.format_exc())
    else:
        return False
    return True
