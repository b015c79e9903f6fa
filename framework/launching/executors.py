"""submitit's executors, as this project uses them."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from framework.errors import UserError
from framework.grid.resources import Resources
from framework.launching import refusals
from framework.launching.pool import Pool

YEARS_IN_MINUTES = 10 * 365 * 24 * 60  # submitit's local jobs end after two minutes otherwise
SIGNAL_SECONDS = 90
EXECUTORS = ("auto", "slurm", "local", "inline")


def choose(executor: str) -> str:
    """Return which executor 'auto' is here: slurm where sbatch is on the PATH, else local.

    Raises:
        UserError: SLURM was asked for and is not here.
    """
    has_slurm = shutil.which("sbatch") is not None
    if executor == "slurm" and not has_slurm:
        raise UserError("--executor slurm: sbatch is not on the PATH; use --executor local")
    return ("slurm" if has_slurm else "local") if executor == "auto" else executor


def submit_local(folder: Path, pool: Pool, code: Path) -> submitit.Job[None]:
    """Start a local job that outlives this process and imports a snapshot of the code."""
    executor = submitit.LocalExecutor(folder, max_num_timeout=0)
    gpus = [int(gpu) for gpu in pool.gpus if gpu.isdigit()]
    executor.update_parameters(
        timeout_min=YEARS_IN_MINUTES, gpus_per_node=len(gpus), visible_gpus=gpus
    )
    with _job_environment(code), _ignored(signal.SIGINT, signal.SIGHUP), _silent():
        job: submitit.Job[None] = executor.submit(pool)
    return job


def submit_slurm(
    folder: Path, name: str, pools: Sequence[Pool], resources: Resources, code: Path
) -> list[str]:
    """Submit an array of jobs, all with the same resources and code; return their ids.

    Raises:
        UserError: sbatch refuses it; its own words are in the message.
    """
    python = f"{resources.prefix} {shlex.quote(sys.executable)}".strip()
    executor = submitit.SlurmExecutor(folder, max_num_timeout=resources.requeues, python=python)
    executor.update_parameters(**_sbatch_options(name, resources))
    try:
        # submitit prints sbatch's words, and raises them too.
        with _job_environment(code), redirect_stderr(io.StringIO()), executor.batch():
            jobs = [executor.submit(pool) for pool in pools]
    except FailedJobError as error:
        raise UserError(refusals.explained(error, resources)) from error
    return [str(job.job_id) for job in jobs]


def check_path(grid: Path) -> None:
    """Refuse a folder whose path SLURM would read otherwise.

    Raises:
        UserError: it holds a character that means something in the names of a job's files.
    """
    found = next((character for character in "%\\" if character in str(grid.absolute())), None)
    if found is not None:
        raise UserError(
            f"{grid}: SLURM gives '{found}' in paths a meaning of its own: choose another --output"
        )


def run_inline(folder: Path, function: Callable[..., object], *arguments: object) -> None:
    """Run a function in this process.

    Raises:
        Exception: what the function raises.
    """
    error = submitit.DebugExecutor(folder).submit(function, *arguments).exception()
    if error is not None:
        raise error


def _sbatch_options(name: str, resources: Resources) -> dict[str, Any]:
    chosen = {
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "gpus_per_node": resources.gpus or None,
        "cpus_per_task": resources.cpus,
        "mem": resources.mem,
        # What fails in the setup would otherwise leave the run in another environment than meant.
        "setup": ["set -e", *resources.setup, "set +e"] if resources.setup else None,
        # A task that fails ends the others, which would wait for it until the time limit.
        "srun_args": ["--kill-on-bad-exit=1"] if resources.processes_per_run > 1 else None,
    }
    return {
        "job_name": name,
        "time": resources.minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.processes_per_node,
        "array_parallelism": resources.max_parallel,
        "signal_delay_s": SIGNAL_SECONDS,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True},
        **{option: value for option, value in chosen.items() if value is not None},
    }


@contextmanager
def _job_environment(code: Path) -> Iterator[None]:
    """Let jobs import a snapshot of this code, and keep numpy from threads before they fork.

    Python would look in the working directory first, which may be the working tree. Where else
    this process finds modules the pool says: these folders come before the standard library.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    wanted = {
        "PYTHONPATH": os.pathsep.join([str(code.absolute()), *filter(None, given)]),
        "PYTHONSAFEPATH": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _silent() -> Iterator[None]:
    """Give processes started meanwhile no part in our pipes, which would stay open as they do."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(descriptor) for descriptor in (0, 1, 2)]
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        yield
    finally:
        for descriptor, copy in enumerate(kept):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nothing)


@contextmanager
def _ignored(*signals: signal.Signals) -> Iterator[None]:
    """Ignore signals meanwhile; processes started here ignore them for good."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
