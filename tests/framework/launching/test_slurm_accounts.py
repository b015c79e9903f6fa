"""What is told of jobs that ended, by a real SLURM that keeps accounts and by one that does not."""

import os
import subprocess

import pytest

from framework.launching.launch import launch
from framework.launching.scheduler import JobState, Scheduler
from framework.launching.states import read_states
from tests import slurm_accounts
from tests.slurm_cluster import Cluster, missing, said

from .conftest import act, options, results, states, until

MISSING = missing(*slurm_accounts.PROGRAMS)
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(MISSING), reason=f"needs SLURM; not installed: {MISSING}"),
    pytest.mark.timeout(300),
]
WAITING = {"target_decay=0.9": {"wait": 7}, "target_decay=0.99": {"wait": 7}}


@pytest.fixture(scope="module", params=[True, False], ids=["accounts", "no_accounts"])
def cluster(request):
    with Cluster(accounts=request.param) as running:
        yield running


def on_slurm(**more):
    return options(executor="slurm", **more)


def waiting_runs(planned, grid):
    """Launch a grid whose runs stand still once they have saved."""
    act(grid, WAITING)
    launched = launch(planned, grid, on_slurm())
    until(lambda: len(list(grid.glob("*/*/state.json"))) == 4, "checkpoints")
    return launched


def finish(grid):
    (grid / "go").touch()
    until(lambda: set(states(grid).values()) == {"done"}, "the grid")


def test_who_cancelled_is_told_where_there_are_accounts(cluster, planned, grid, undisturbed):
    launched = waiting_runs(planned, grid)
    victim = launched.submission.jobs[0]
    subprocess.check_call(["scancel", victim.id])
    until(lambda: states(grid)["target_decay=0.9/0"] == "stopped", "the end of the job")
    found = read_states(grid, launched.manifest)[0]
    by = " by root" if cluster.accounts and os.getuid() == 0 else ""
    assert found.cause.endswith(f"job {victim.id} was cancelled{by}")
    (grid / "go").touch()
    until(lambda: list(states(grid).values()).count("done") == 3, "the others")
    assert len(launch(planned, grid, on_slurm()).started) == 1
    finish(grid)
    assert results(grid) == undisturbed


def test_accounts_answer_for_jobs_that_the_controller_forgot(cluster, tmp_path, monkeypatch):
    job = said("sbatch", "--parsable", f"--output={tmp_path}/log", "--wrap", "exit 3").strip()
    until(lambda: Scheduler([job]).job(job) == JobState(ending="FAILED"), "its end")
    for name in ("sacct", "cat"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue
    ending = "FAILED" if cluster.accounts else ""
    until(lambda: Scheduler([job]).job(job) == JobState(ending=ending), "the accounts")
