"""What a grid's folder keeps of its jobs: submitit's files, locks, and what jobs print."""

from __future__ import annotations

from pathlib import Path

JOBS = ".jobs"


def job_log(grid: Path, job: str) -> Path:
    """Return what a job prints into: what came before its runs, or instead of them.

    A local job's errors have a file of their own.
    """
    out, err = (grid / JOBS / f"{job}_0_log.{kind}" for kind in ("out", "err"))
    return err if err.exists() else out  # submitit's names; 0 is the first task
