"""The tasks of a scheduler's job as the processes of one run."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from submitit.helpers import TorchDistributedEnvironment

from framework.errors import UserError
from framework.runs import outcomes

GRACE_SECONDS = 60.0  # for the first process to notice that another is gone
POLL_SECONDS = 0.5


def rank_of_task(processes: int) -> int:
    """Tell this process by its environment which one of its run it is, and return its rank.

    Raises:
        UserError: the job has another number of tasks than the run was to have.
    """
    found = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if os.environ.get("SLURM_NNODES") == "1":  # whose name may resolve to nothing
        os.environ["MASTER_ADDR"] = "127.0.0.1"
    if found.world_size != processes:
        raise UserError(
            f"job {os.environ.get('SLURM_JOB_ID', '')} has {found.world_size} tasks, and its run "
            f"is to train in {processes} processes"
        )
    return int(found.rank)


def restarts() -> int:
    """Return how often SLURM has requeued this job, for whatever reason."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def cores_given() -> int | None:
    """Return how many cores SLURM has given to this task; None outside of its jobs."""
    if each := os.environ.get("SLURM_CPUS_PER_TASK"):
        return int(each)
    on_node = os.environ.get("SLURM_CPUS_ON_NODE")
    tasks = re.match(r"\d+", os.environ.get("SLURM_TASKS_PER_NODE", "1"))  # such as '2(x3)'
    return int(on_node) // int(tasks[0] if tasks else 1) if on_node else None


def end_follower(run: Path, code: int) -> None:
    """End a task whose process of the run has failed, and with it the job's other tasks.

    The first process gets time to write down how the run ended. One that waits for its GPU cannot:
    then it is written here.
    """
    if code == 0:
        return
    deadline = time.monotonic() + GRACE_SECONDS
    while outcomes.read(run).get("state") == "running":
        if time.monotonic() > deadline:
            outcomes.record(run, "failed", outcomes.failure(run) or f"ended with code {code}")
            break
        time.sleep(POLL_SECONDS)
    sys.exit(code if code > 0 else 128 - code)
