"""Ending runs of a grid: running ones save and stop, waiting ones are not started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from framework.errors import UserError, nearest
from framework.grid.manifest import Manifest, last_jobs
from framework.launching import claims, outcomes
from framework.launching.folders import LOCK
from framework.launching.states import LIVE, CellStatus, read_states

ASK_SECONDS = 60.0


@dataclass
class Cancelled:
    """How many runs were told to stop or dropped, and what is out of reach from this host."""

    told: int = 0
    dropped: int = 0
    elsewhere: list[str] = field(default_factory=list)


def cancel(grid: Path, arms: Sequence[str] = ()) -> Cancelled:
    """Cancel the live runs of some arms of a grid, or of all.

    Raises:
        UserError: there is no such grid or arm, or scancel refuses.
    """
    manifest = Manifest.read(grid)
    if manifest is None:
        raise UserError(f"{grid}: no grid.json; give the folder of a grid, as runs/NAME")
    known = {cell.arm for cell in manifest.select(())}
    for arm in arms:
        if arm not in known:
            raise UserError(f"no arm of '{manifest.name}' is called '{arm}'{nearest(arm, known)}")
    done = Cancelled()
    with claims.hold(grid / LOCK, patience=None):  # nobody submits meanwhile
        live = [s for s in read_states(grid, manifest, manifest.select(arms)) if s.state in LIVE]
        last = last_jobs(manifest.submissions).items()
        on_slurm = {cell for cell, (submission, _) in last if submission.executor == "slurm"}
        for status in live:  # those that wait first, so that none takes a stopped one's place
            if status.state == "queued":
                done.dropped += _drop(grid / status.directory)
        for status in live:
            if status.state == "running" and status.directory not in on_slurm:
                _tell(grid, status, done)
        _cancel_jobs([s for s in live if s.directory in on_slurm], done)
    return done


def _drop(run: Path) -> bool:
    """Mark a waiting run as cancelled; return whether it was still waiting."""
    with claims.claim(run) as mine:
        if mine:
            outcomes.record(run, "stopped", outcomes.CANCELLED)
    return mine


def _tell(grid: Path, status: CellStatus, done: Cancelled) -> None:
    """Ask a run's process to save and stop."""
    holder = claims.holder(grid / status.directory / claims.LOCK)
    if holder is None:
        return  # it ended by itself
    process, host = holder
    if host != socket.gethostname():
        done.elsewhere.append(f"{status.directory} runs on {host}: cancel it there")
        return
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
        done.told += 1


def _cancel_jobs(states: Sequence[CellStatus], done: Cancelled) -> None:
    """Cancel SLURM's jobs of some runs.

    Raises:
        UserError: scancel refuses.
    """
    jobs = sorted({status.job for status in states if status.job})
    if not jobs:
        return
    asked = subprocess.run(["scancel", *jobs], capture_output=True, text=True, timeout=ASK_SECONDS)
    if asked.returncode:
        raise UserError(f"scancel refuses: {asked.stderr.strip()}")
    done.told += sum(status.state == "running" for status in states)
