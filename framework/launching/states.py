"""Where the cells of a grid stand: heartbeats first, then locks, then what SLURM says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.grid.manifest import CellRecord, Manifest, Submission, last_jobs
from framework.launching.scheduler import JobState, Scheduler
from framework.runs import claims, liveness, outcomes

LIVE = frozenset({"queued", "running"})
STATES = ("queued", "running", "done", "failed", "diverged", "stopped")
OUT_OF_MEMORY = "OUT_OF_MEMORY"
ENDINGS = {
    OUT_OF_MEMORY: ("failed", "ran out of memory"),
    "FAILED": ("failed", "failed"),
    "TIMEOUT": ("stopped", "ran into its time limit"),
    "NODE_FAIL": ("stopped", "lost its node"),
    "BOOT_FAIL": ("stopped", "lost its node"),
    "PREEMPTED": ("stopped", "was preempted"),
    "DEADLINE": ("stopped", "ran into its deadline"),
    "CANCELLED": ("stopped", "was cancelled"),
}
"""What becomes of an unfinished run whose job ended so, and in which words."""


@dataclass(frozen=True)
class CellStatus:
    """Where one cell stands.

    `state` is one of `STATES`, or "" for a cell that was never started and that no job will start.
    `step` is the last one told of; where a run diverged, the one at which it did. `reason` is the
    scheduler's for letting it wait; `seconds_left` is None where it is not known.
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
    """Which jobs of a grid still live, and how the others ended."""

    def __init__(self, grid: Path, submissions: Iterable[Submission]) -> None:
        self._of_cell = last_jobs(submissions)
        self._local: dict[str, bool] = {}
        self._grid = grid
        on_slurm = [job.id for s, job in self._of_cell.values() if s.executor == "slurm"]
        self._scheduler = Scheduler(dict.fromkeys(id_ for id_ in on_slurm if id_))

    def submitted(self, directory: str) -> float:
        """Return when a cell was last submitted (Unix time), or 0."""
        return self._of_cell[directory][0].created if directory in self._of_cell else 0.0

    def ends(self, directory: str) -> bool:
        """Return whether the last job of a cell leaves it once it has stopped: none requeues it."""
        return directory in self._of_cell and bool(self._of_cell[directory][0].lock)

    def of(self, directory: str) -> tuple[str, JobState]:
        """Return the last job of a cell: its id and its state."""
        if directory not in self._of_cell:
            return "", JobState()
        submission, job = self._of_cell[directory]
        if not submission.lock:
            return job.id, self._scheduler.job(job.id) if job.id else JobState()
        if submission.lock not in self._local:
            self._local[submission.lock] = claims.is_held(self._grid / submission.lock)
        return job.id, JobState("queued" if self._local[submission.lock] else "")


def cell_status(grid: Path, cell: CellRecord, jobs: Jobs) -> CellStatus:
    """Return where one cell stands."""
    run = grid / cell.directory
    beat = outcomes.read(run)
    state, cause = str(beat.get("state", "")), str(beat.get("cause") or "")
    since = jobs.submitted(cell.directory)
    said = state if outcomes.updated(beat) >= since else ""  # by this submission's job
    over = outcomes.is_over(beat, since) or (said == "stopped" and jobs.ends(cell.directory))
    id_, job = ("", JobState()) if over else jobs.of(cell.directory)
    if said != "done" and claims.is_held(run / claims.LOCK):
        state, cause = "running", ""  # it looks for where it diverged, say, and writes there yet
    elif not over:
        state, cause = _unfinished(beat, said, id_, job)
    diverged = beat.get("diverged_step") if state == "diverged" else None
    return CellStatus(
        arm=cell.arm,
        seed=cell.seed,
        directory=cell.directory,
        tuned=cell.tuned,
        state=state,
        step=int(diverged or beat.get("step") or 0),
        steps=int(beat.get("steps") or 0),
        steps_per_second=float(beat.get("steps_per_second") or 0.0),
        metrics=beat.get("metrics") or {},
        cause=cause,
        job=id_ or str(beat.get("job_id") or ""),
        reason=job.reason,
        updated=outcomes.updated(beat),
    )


def _unfinished(beat: Mapping[str, Any], said: str, id_: str, job: JobState) -> tuple[str, str]:
    """Return state and cause of a run that has not ended by its own account.

    A heartbeat from before it was submitted says nothing of what its job has made of it: `said` is
    its state, or "" then.
    """
    state, cause = str(beat.get("state", "")), str(beat.get("cause") or "")
    if said == "running" and job.live == "running" and not liveness.is_gone(beat):
        return "running", ""
    if job.live:
        return "queued", ""
    if job.ending in ENDINGS:
        return _ended(said, cause, id_, job)
    if state in LIVE:
        return "stopped", f"its process is gone, at step {beat.get('step', 0)}"
    return state, cause


def _ended(state: str, cause: str, id_: str, job: JobState) -> tuple[str, str]:
    """Return state and cause of a run whose job ended before it did.

    A run that could save and stop has stopped, whatever became of its job; but what the kernel
    killed for its memory may have been taken for that.
    """
    verdict, words = ENDINGS[job.ending]
    told = f"job {id_} {words}{f' by {job.by}' if job.by else ''}"
    saved = state == "stopped" and not (job.ending == OUT_OF_MEMORY and outcomes.KILLED in cause)
    if saved:
        return "stopped", f"{cause}; {told}"
    return verdict, told
