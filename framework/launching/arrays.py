"""Cells to SLURM: one job array per class of resources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from framework.errors import UserError
from framework.grid.manifest import Job, Manifest, Submission
from framework.grid.plan import Cell
from framework.grid.resources import Resources
from framework.launching import executors
from framework.launching.decisions import Decision
from framework.launching.job_files import JOBS
from framework.launching.pool import Pool
from framework.launching.scheduler import said

DEFAULT_LARGEST = 1001  # SLURM's own MaxArraySize


def plan_jobs(todo: Sequence[Decision]) -> list[Job]:
    """Return the jobs that cells make, class by class, without ids."""
    return [
        Job("", [cell.directory for cell in cells[i : i + resources.runs_per_job]])
        for resources, cells in _classes(todo)
        for i in range(0, len(cells), resources.runs_per_job)
    ]


def submit(
    grid: Path,
    manifest: Manifest,
    submission: Submission,
    todo: Sequence[Decision],
    runner: str,
    code: Path,
) -> None:
    """Submit a planned submission, writing down the ids of each array as soon as it has them.

    Raises:
        UserError: sbatch refuses one; arrays before it stay submitted.
    """
    largest = largest_array()
    remaining = list(submission.jobs)
    for resources, cells in _classes(todo):
        count = -(-len(cells) // resources.runs_per_job)
        jobs, remaining = remaining[:count], remaining[count:]
        for start in range(0, count, largest):
            chunk = jobs[start : start + largest]
            pools = [_pool(grid, job, submission, resources, runner) for job in chunk]
            name = f"{manifest.name}-{submission.token}"
            try:
                ids = executors.submit_slurm(grid / JOBS, name, pools, resources, code)
            except UserError as error:
                raise UserError(f"{error}{_before(submission)}") from error
            for job, identifier in zip(chunk, ids, strict=True):
                job.id = identifier
            manifest.write(grid)


def _before(submission: Submission) -> str:
    """Return a note on what of a submission was accepted before sbatch refused the next array."""
    done = sum(len(job.cells) for job in submission.jobs if job.id)
    total = sum(len(job.cells) for job in submission.jobs)
    return f"; {done} of {total} runs were submitted: launch again for the rest" if done else ""


def largest_array() -> int:
    """Return how many jobs an array of this cluster may have."""
    asked = said("scontrol", "show", "config")
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", asked.stdout if asked else "")
    return max(1, (int(found[1]) if found else DEFAULT_LARGEST) - 1)


def learn_jobs(grid: Path) -> Manifest | None:
    """Return a grid's manifest, if it has one, with the jobs of launchers that were killed.

    Between sbatch and writing down its answer, that is. The caller holds the grid's lock.
    """
    manifest = Manifest.read(grid)
    learnt = [reconcile(s, manifest.name) for s in manifest.submissions] if manifest else []
    if manifest is not None and any(learnt):
        manifest.write(grid)
    return manifest


def reconcile(submission: Submission, name: str) -> bool:
    """Fill in the ids that a killed launcher did not write down; return whether there were any.

    Those are of one array, since the ids of each are written down before the next is submitted: its
    elements are the first of the jobs without one. Only what SLURM still knows is found.
    """
    missing = [job for job in submission.jobs if not job.id]
    if submission.executor != "slurm" or not missing:
        return False
    asked = said("squeue", "--noheader", "--array", "--states=all", "--format=%F|%K",
                 f"--name={name}-{submission.token}")  # fmt: skip
    if asked is None:
        return False
    known = {job.id.partition("_")[0] for job in submission.jobs if job.id}
    listed = [line.split("|") for line in asked.stdout.splitlines()]
    found = [(array, index) for array, index in listed if array not in known]
    for array, index in found:
        alone = index == "N/A"
        missing[0 if alone else int(index)].id = array if alone else f"{array}_{index}"
    return bool(found)


def _classes(todo: Sequence[Decision]) -> list[tuple[Resources, list[Cell]]]:
    """Return the cells by what they need, in order."""
    found: list[tuple[Resources, list[Cell]]] = []
    for decision in todo:
        resources = decision.cell.resources
        cells = next((cells for known, cells in found if known == resources), None)
        if cells is None:
            found.append((resources, [decision.cell]))
        else:
            cells.append(decision.cell)
    return found


def _pool(grid: Path, job: Job, submission: Submission, resources: Resources, runner: str) -> Pool:
    parallel = min(resources.runs_per_job, len(job.cells))
    return Pool(
        grid=str(grid.absolute()),
        cells=job.cells,
        runner=runner,
        created=submission.created,
        parallel=parallel,
        threads=max(1, (resources.cpus or 0) // parallel) if resources.cpus else 0,
        processes=resources.processes_per_run,
        requeues=resources.requeues,
        stop=submission.stop,
    )
