"""A launch: what is missing of a grid goes to an executor, once."""

from __future__ import annotations

import math
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from framework.errors import UserError
from framework.grid.manifest import Job, Manifest, Submission
from framework.grid.plan import Plan
from framework.launching import arrays, executors, folders
from framework.launching.decisions import Decision, decide
from framework.launching.gpus import visible_gpus
from framework.launching.job_files import JOBS, job_log
from framework.launching.pool import Pool, cores
from framework.runs import claims, logs, outcomes

RUNNER = "framework.launching.training:run"


@dataclass(frozen=True)
class Options:
    """How to launch: see `launch/slurm.py --help`.

    `parallel` None is 2 runs at a time on a CPU, one a GPU with them; `runner` is the function
    that runs a cell, as 'package.module:function'.
    """

    executor: str = "auto"
    retry: str | None = None
    parallel: int | None = None
    fail_fast: bool = False
    runner: str = RUNNER
    command: str = ""


@dataclass(frozen=True)
class Launched:
    """What a launch did."""

    grid: Path
    manifest: Manifest
    decisions: Sequence[Decision]
    executor: str
    submission: Submission | None = None

    @property
    def started(self) -> list[str]:
        """The folders of the cells that this launch started."""
        return [d.cell.directory for d in self.decisions if d.run]


def launch(plan: Plan, grid: Path, options: Options) -> Launched:
    """Start every cell of a plan that is missing.

    Two launches of one grid wait for each other. Inline cells are not run yet, see `inline.py`.

    Raises:
        UserError: the folder is another grid's or cannot be written, or sbatch refuses.
    """
    executor = executors.choose(options.executor)
    if executor == "slurm":
        executors.check_path(grid)
    folders.check_room(grid, decide(grid, plan, options.retry)[1])
    undo = folders.create(grid)
    with claims.hold(grid / folders.LOCK, patience=None), undo:  # undone while nobody else launches
        arrays.learn_jobs(grid)
        old, decisions = decide(grid, plan, options.retry)
        manifest = plan.manifest(options.command).continuing(old)
        todo = [d for d in decisions if d.run]
        submission = _new_submission(grid, executor, todo, options) if todo else None
        if submission is not None:
            manifest.submissions.append(submission)
        folders.write(grid, manifest, decisions, undo)
        if submission is not None and executor != "inline":
            code = folders.keep_code(grid, undo)
            with _undone_if_refused(submission, undo):
                if executor == "slurm":
                    arrays.submit(grid, manifest, submission, todo, options.runner, code)
                else:
                    _start_local(grid, submission, todo, options, code)
        manifest.write(grid)
        undo.pop_all()
    return Launched(grid, manifest, decisions, executor, submission)


@contextmanager
def _undone_if_refused(submission: Submission, undo: ExitStack) -> Iterator[None]:
    """Undo a launch of which nothing was submitted.

    Whatever else ends it, such as Ctrl-C, may leave jobs behind: they need what was written.
    """
    kept = undo.pop_all()
    try:
        yield
    except UserError:
        if not any(job.id for job in submission.jobs):
            kept.close()
        raise


def _new_submission(
    grid: Path, executor: str, todo: Sequence[Decision], options: Options
) -> Submission:
    token = uuid.uuid4().hex[:8]
    cells = [decision.cell.directory for decision in todo]
    jobs = arrays.plan_jobs(todo) if executor == "slurm" else [Job("", cells)]
    lock = f"{JOBS}/{token}.lock" if executor == "local" else ""
    stop = f"{JOBS}/{token}.stop" if options.fail_fast else ""
    return Submission(executor, token, socket.gethostname(), _now(grid, cells), jobs, lock, stop)


def _now(grid: Path, cells: Sequence[str]) -> float:
    """Return the time, made later than all that cells have said: another host's clock may be fast.

    What has ended since its submission is not run.
    """
    said = max(outcomes.updated(outcomes.read(grid / cell)) for cell in cells)
    return max(time.time(), math.nextafter(said, math.inf))


def _start_local(
    grid: Path, submission: Submission, todo: Sequence[Decision], options: Options, code: Path
) -> None:
    """Start a local job and wait until it lives.

    Raises:
        UserError: it ended before it began; its log goes with the grid's folder.
    """
    pool = local_pool(grid, submission, todo, options)
    job = executors.submit_local(grid / JOBS, pool, code)
    lock = grid / submission.lock
    while not (lock.exists() and lock.stat().st_size):
        if job.done():
            said = logs.tail(job_log(grid, str(job.job_id)))
            raise UserError(f"the local job did not start: {said[-1] if said else 'no log'}")
        time.sleep(claims.POLL_SECONDS)
    submission.jobs[0].id = str(job.job_id)


def local_pool(
    grid: Path, submission: Submission, todo: Sequence[Decision], options: Options
) -> Pool:
    """Return the job that runs cells on this machine, which it divides among them."""
    on_cpu = all(d.cell.resolved.settings["train.device"] == "cpu" for d in todo)
    gpus = [] if on_cpu else visible_gpus()
    count, processes = cores(), todo[0].cell.resources.processes_per_run
    places = max(1, (len(gpus) or min(2, count)) // processes)
    parallel = min(options.parallel or places, len(todo))
    asked = [cpus for d in todo if (cpus := d.cell.resources.cpus)]
    return Pool(
        grid=str(grid.absolute()),
        cells=submission.jobs[0].cells,
        runner=options.runner,
        created=submission.created,
        parallel=parallel,
        threads=min([max(1, count // (parallel * processes)), *asked]),
        gpus=gpus,
        processes=processes,
        stop=submission.stop,
        lock=submission.lock,
        local=True,
    )
