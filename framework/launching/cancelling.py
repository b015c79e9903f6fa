"""Ending runs of a grid: running ones save and stop, waiting ones are not started."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from framework.errors import UserError, nearest
from framework.grid.manifest import Job, Manifest, Submission, last_jobs
from framework.launching import arrays
from framework.launching.folders import LOCK
from framework.launching.scheduler import said
from framework.launching.states import LIVE, CellStatus, read_states
from framework.runs import claims, outcomes


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
    Manifest.of(grid)  # without a grid there is nowhere to wait for a lock
    done = Cancelled()
    with claims.hold(grid / LOCK, patience=None):  # nobody submits meanwhile
        manifest = arrays.learn_jobs(grid)  # after a launch that was under way
        if manifest is not None:
            _cancel(grid, manifest, arms, done)
    return done


def _cancel(grid: Path, manifest: Manifest, arms: Sequence[str], done: Cancelled) -> None:
    known = {cell.arm for cell in manifest.select(())}
    for arm in arms:
        if arm not in known:
            raise UserError(f"no arm of '{manifest.name}' is called '{arm}'{nearest(arm, known)}")
    chosen = {cell.directory for cell in manifest.select(arms)}
    live = [s for s in read_states(grid, manifest, manifest.select(())) if s.state in LIVE]
    wanted = [status for status in live if status.directory in chosen]
    last = last_jobs(manifest.submissions)
    begun = {  # those that wait are dropped first, so that none takes a stopped one's place
        status.directory
        for status in wanted
        if status.state == "running" or not _drop(grid, status, last)
    }
    done.dropped = len(wanted) - len(begun)
    on_slurm = {cell for cell, (job, _) in last.items() if job.executor == "slurm"}
    pools = {claims.holder(grid / entry.lock) for entry in manifest.submissions if entry.lock}
    for status in wanted:
        if status.directory in begun - on_slurm:
            _tell(grid, status, pools, done)
    others = {status.job for status in live if status.directory not in chosen}
    _end_on_slurm(grid, [s for s in wanted if s.directory in on_slurm], begun, others, done)


def _drop(grid: Path, status: CellStatus, last: Mapping[str, tuple[Submission, Job]]) -> bool:
    """Return whether a run that waited will not begin; it may have begun meanwhile."""
    return outcomes.cancel(grid / status.directory, last[status.directory][0].created)


def _tell(grid: Path, status: CellStatus, pools: Container[object], done: Cancelled) -> None:
    """Ask a run's process to save and stop; not its job, which may be writing how it ended."""
    holder = claims.holder(grid / status.directory / claims.LOCK)
    if holder is None or holder in pools:
        return  # it ended by itself
    process, host = holder
    if host != socket.gethostname():
        done.elsewhere.append(f"{status.directory} runs on {host}: cancel it there")
        return
    try:
        (grid / status.directory / outcomes.STOP).touch()
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        done.elsewhere.append(f"{status.directory} is run by another user, who has to cancel it")
        return
    done.told += 1


def _end_on_slurm(
    grid: Path,
    wanted: Sequence[CellStatus],
    begun: Container[str],
    others: Container[str],
    done: Cancelled,
) -> None:
    """Cancel the jobs of some runs; of a job that `others` share, have it stop theirs alone.

    Raises:
        UserError: scancel refuses.
    """
    running = [status for status in wanted if status.directory in begun]
    done.told += len(running)
    for status in running:
        if status.job in others:
            (grid / status.directory / outcomes.STOP).touch()
    jobs = sorted({status.job for status in wanted if status.job and status.job not in others})
    if not jobs:
        return
    asked = said("scancel", *jobs)
    if asked is None:
        raise UserError("scancel is not on the PATH: cancel where SLURM is")
    if asked.returncode:
        raise UserError(f"scancel refuses: {asked.stderr.strip()}")
