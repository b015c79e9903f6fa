"""Ending runs of a grid: running ones save and stop, waiting ones are not started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from framework.errors import UserError, nearest
from framework.grid.manifest import Manifest, last_jobs
from framework.launching.folders import LOCK
from framework.launching.states import LIVE, CellStatus, read_states
from framework.runs import claims, outcomes

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
    chosen = {cell.directory for cell in manifest.select(arms)}
    with claims.hold(grid / LOCK, patience=None):  # nobody submits meanwhile
        live = [s for s in read_states(grid, manifest, manifest.select(())) if s.state in LIVE]
        wanted = [status for status in live if status.directory in chosen]
        for status in wanted:  # those that wait first, so that none takes a stopped one's place
            if status.state == "queued":
                done.dropped += outcomes.cancel(grid / status.directory)
        last = last_jobs(manifest.submissions).items()
        on_slurm = {cell for cell, (submission, _) in last if submission.executor == "slurm"}
        for status in wanted:
            if status.state == "running" and status.directory not in on_slurm:
                _tell(grid, status, done)
        others = {status.job for status in live if status.directory not in chosen}
        _end_on_slurm(grid, [s for s in wanted if s.directory in on_slurm], others, done)
    return done


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


def _end_on_slurm(
    grid: Path, wanted: Sequence[CellStatus], others: Container[str], done: Cancelled
) -> None:
    """Cancel the jobs of some runs; of a job that `others` share, have it stop theirs alone.

    Raises:
        UserError: scancel refuses.
    """
    done.told += sum(status.state == "running" for status in wanted)
    for status in wanted:
        if status.job in others and status.state == "running":
            (grid / status.directory / outcomes.STOP).touch()
    jobs = sorted({status.job for status in wanted if status.job and status.job not in others})
    if not jobs:
        return
    asked = subprocess.run(["scancel", *jobs], capture_output=True, text=True, timeout=ASK_SECONDS)
    if asked.returncode:
        raise UserError(f"scancel refuses: {asked.stderr.strip()}")
