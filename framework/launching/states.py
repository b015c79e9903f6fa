"""Where the cells of a grid stand: heartbeats first, then locks, then one question to SLURM."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.grid.manifest import CellRecord, Manifest, Submission
from framework.launching import claims, outcomes

LIVE = frozenset({"queued", "running"})
STATES = ("queued", "running", "done", "failed", "diverged", "stopped")
SILENT_SECONDS = 120.0  # a run on another host that says nothing for so long is asked about
ASK_SECONDS = 60.0


@dataclass(frozen=True)
class CellStatus:
    """Where one cell stands.

    `state` is one of `STATES`, or "" for a cell that was never started and that no job will start.
    `reason` is the scheduler's for letting it wait; `seconds_left` is None where it is not known.
    """

    arm: str
    seed: int
    directory: str
    tuned: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    step: int = 0
    steps: int = 0
    steps_per_second: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    cause: str = ""
    job: str = ""
    reason: str = ""
    updated: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """Return the time to its end at its present rate."""
        if self.state != "running" or self.steps_per_second <= 0:
            return None
        return (self.steps - self.step) / self.steps_per_second


def read_states(
    grid: Path, manifest: Manifest, cells: Iterable[CellRecord] | None = None
) -> list[CellStatus]:
    """Return the status of the cells of a grid, of all that it has unless some are given."""
    jobs = Jobs(grid, manifest.submissions)
    chosen = manifest.cells if cells is None else cells
    return [cell_status(grid, cell, jobs) for cell in chosen]


class Jobs:
    """Which jobs of a grid still live; SLURM is asked once, and only if it has to be."""

    def __init__(self, grid: Path, submissions: Iterable[Submission]) -> None:
        self._of_cell: dict[str, tuple[Submission, str]] = {}
        self._local: dict[str, bool] = {}
        self._grid = grid
        self._slurm: dict[str, tuple[str, str]] | None = None
        self._ids: list[str] = []
        for submission in submissions:
            for job in submission.jobs:
                self._of_cell.update(dict.fromkeys(job.cells, (submission, job.id)))
                if submission.executor == "slurm" and job.id:
                    self._ids.append(job.id.partition("_")[0])

    def submitted(self, directory: str) -> float:
        """Return when a cell was last submitted (Unix time), or 0."""
        return self._of_cell[directory][0].created if directory in self._of_cell else 0.0

    def of(self, directory: str) -> tuple[str, str, str]:
        """Return the last job of a cell: its id, queued, running or "", and why it waits."""
        if directory not in self._of_cell:
            return "", "", ""
        submission, job = self._of_cell[directory]
        if submission.lock:
            if submission.lock not in self._local:
                self._local[submission.lock] = claims.is_held(self._grid / submission.lock)
            return job, "queued" if self._local[submission.lock] else "", ""
        if self._slurm is None:
            self._slurm = ask_slurm(self._ids)
        state, reason = self._slurm.get(job, ("", ""))
        return job, state, reason


def ask_slurm(ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return {job: (queued or running, reason for waiting)} of the live ones of some jobs."""
    wanted = ",".join(sorted(set(ids)))
    if not wanted or shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", "--array", f"--jobs={wanted}", "--format=%F|%K|%T|%r"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS)
    except subprocess.TimeoutExpired:
        return {}
    found = {}
    for line in asked.stdout.splitlines():  # without any: "Invalid job id", all have ended
        array, index, state, reason = line.split("|", 3)
        job = array if index == "N/A" else f"{array}_{index}"
        if state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED"):
            found[job] = ("queued", reason)
        elif state in ("RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT"):
            found[job] = ("running", "")
    return found


def cell_status(grid: Path, cell: CellRecord, jobs: Jobs) -> CellStatus:
    """Return where one cell stands."""
    run = grid / cell.directory
    beat = outcomes.read(run)
    state, cause = str(beat.get("state", "")), str(beat.get("cause") or "")
    job, job_state, reason = "", "", ""
    if state not in outcomes.ENDED or jobs.submitted(cell.directory) > beat.get("updated", 0.0):
        job, job_state, reason = jobs.of(cell.directory)
        state, cause = _unfinished(run, beat, state, cause, job_state)
    return CellStatus(
        arm=cell.arm,
        seed=cell.seed,
        directory=cell.directory,
        tuned=cell.tuned,
        state=state,
        step=int(beat.get("step") or 0),
        steps=int(beat.get("steps") or 0),
        steps_per_second=float(beat.get("steps_per_second") or 0.0),
        metrics=beat.get("metrics") or {},
        cause=cause,
        job=job or str(beat.get("job_id") or ""),
        reason=reason,
        updated=float(beat.get("updated") or 0.0),
    )


def _unfinished(
    run: Path, beat: Mapping[str, Any], state: str, cause: str, job: str
) -> tuple[str, str]:
    """Return state and cause of a run that has not ended by its own account."""
    if claims.is_held(run / claims.LOCK):
        return "running", ""
    if state == "running" and job == "running" and not _is_gone(beat):
        return "running", ""
    if job and cause != outcomes.CANCELLED:
        return "queued", ""
    if state in LIVE:
        return "stopped", f"its process is gone, at step {beat.get('step', 0)}"
    return state, cause


def _is_gone(beat: Mapping[str, Any]) -> bool:
    """Return whether the process of a heartbeat cannot be alive; locks may not cross hosts."""
    if beat.get("host") != socket.gethostname():
        return time.time() - float(beat.get("updated") or 0.0) > SILENT_SECONDS
    try:
        os.kill(int(beat.get("pid") or 0), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
