"""Cancelling: each run is told where it was handed to last."""

import os
import signal
import subprocess
import sys
import time

import pytest

from framework.grid.manifest import Job, Submission
from framework.launching import cancelling, states
from framework.launching.cancelling import cancel
from framework.launching.folders import LOCK
from framework.launching.job_files import JOBS
from framework.runs import claims, outcomes

from .conftest import REPOSITORY, until
from .test_states import CELL, beat, manifest_of

HOLDING = (
    "import sys, time; from pathlib import Path; from framework.runs import claims\n"
    "with claims.claim(Path(sys.argv[1])): time.sleep(600)"
)


def submission(executor, job, lock=""):
    return Submission(executor, "t", "here", time.time(), [Job(job, [CELL.directory])], lock)


@pytest.fixture
def scancel(tmp_path, monkeypatch):
    """A scancel that writes down what it is asked to cancel, and a squeue that knows nothing."""
    programs, asked = tmp_path / "bin", tmp_path / "asked"
    programs.mkdir()
    for name, script in {"scancel": f"echo $* >> {asked}", "squeue": "", "sacct": ""}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return lambda: asked.read_text().split() if asked.exists() else []


@pytest.fixture
def running(tmp_path):
    """A process that trains the cell, as far as its lock says."""
    run = tmp_path / "toy" / CELL.directory
    (tmp_path / "toy" / JOBS).mkdir(parents=True)
    run.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(run)], cwd=REPOSITORY)
    until(lambda: claims.holder(run / claims.LOCK), "the run's claim")
    yield process
    process.kill()
    process.wait()


def test_a_run_that_went_from_slurm_to_this_machine_is_told_here(tmp_path, running, scancel):
    grid = tmp_path / "toy"
    local = submission("local", "31337", f"{JOBS}/t.lock")
    manifest_of([CELL], [submission("slurm", "5_0"), local]).write(grid)
    assert cancel(grid).told == 1
    assert scancel() == []
    assert running.wait(timeout=60) == -signal.SIGTERM


def test_a_run_that_went_from_this_machine_to_slurm_is_told_by_slurm(tmp_path, running, scancel):
    grid = tmp_path / "toy"
    local = submission("local", "31337", f"{JOBS}/t.lock")
    manifest_of([CELL], [local, submission("slurm", "5_0")]).write(grid)
    assert cancel(grid).told == 1
    assert scancel() == ["5_0"]
    assert running.poll() is None


def test_a_run_of_another_user_is_named(tmp_path, running, scancel, monkeypatch):
    grid = tmp_path / "toy"
    manifest_of([CELL], [submission("local", "31337", f"{JOBS}/t.lock")]).write(grid)

    def refuse(process, number):
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", refuse)
        found = cancel(grid)
    assert found.told == 0
    assert found.elsewhere == [f"{CELL.directory} is run by another user, who has to cancel it"]


def test_a_job_that_writes_down_how_a_run_ended_is_not_told_to_stop(tmp_path, running, scancel):
    grid = tmp_path / "toy"
    local = submission("local", "31337", f"{JOBS}/t.lock")
    manifest_of([CELL], [local]).write(grid)
    (grid / local.lock).hardlink_to(grid / CELL.directory / claims.LOCK)  # both are the job's
    assert cancel(grid).told == 0
    assert running.poll() is None


def test_a_launch_that_is_under_way_is_waited_for_and_cancelled_too(
    tmp_path, running, scancel, monkeypatch
):
    grid, hold = tmp_path / "toy", claims.hold
    manifest_of([CELL]).write(grid)

    def hold_after_a_launch(path, patience=None):
        if path == grid / LOCK:
            manifest_of([CELL], [submission("slurm", "5_0")]).write(grid)
        return hold(path, patience)

    monkeypatch.setattr(claims, "hold", hold_after_a_launch)
    assert cancel(grid).told == 1
    assert scancel() == ["5_0"]


def test_jobs_that_a_killed_launcher_left_are_cancelled_too(tmp_path, running, scancel):
    grid = tmp_path / "toy"
    script = "case $* in *%T*) echo '5|0|RUNNING|None' ;; *) echo '5|0' ;; esac"
    (tmp_path / "bin/squeue").write_text(f"#!/bin/sh\n{script}\n")
    manifest_of([CELL], [submission("slurm", "")]).write(grid)
    assert cancel(grid).told == 1
    assert scancel() == ["5_0"]


def test_a_run_that_was_submitted_by_a_fast_clock_stays_cancelled(tmp_path):
    created = time.time() + 600.0
    assert outcomes.cancel(tmp_path, created)
    assert not outcomes.is_wanted(tmp_path, created)


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """A cell that waits when `cancel` looks; what is returned says what it does after that."""
    grid = tmp_path / "toy"
    (grid / JOBS).mkdir(parents=True)
    entry = submission("local", "31337", f"{JOBS}/t.lock")
    manifest_of([CELL], [entry]).write(grid)
    after = []

    def look(*arguments):
        found = states.read_states(*arguments)
        for act in after:
            act(grid / CELL.directory)
        return found

    monkeypatch.setattr(cancelling, "read_states", look)
    with claims.hold(grid / entry.lock):
        yield after


def test_a_run_that_begins_while_it_is_cancelled_is_told(tmp_path, waiting):
    begun = []

    def begin(run):
        run.mkdir(parents=True)
        begun.append(subprocess.Popen([sys.executable, "-c", HOLDING, str(run)], cwd=REPOSITORY))
        until(lambda: claims.holder(run / claims.LOCK), "the run's claim")

    waiting.append(begin)
    done = cancel(tmp_path / "toy")
    assert (done.told, done.dropped) == (1, 0)
    assert begun[0].wait(timeout=60) == -signal.SIGTERM


def test_a_run_that_ends_while_it_is_cancelled_has_ended(tmp_path, waiting):
    waiting.append(lambda run: beat(run, state="failed", cause="ValueError"))
    done = cancel(tmp_path / "toy")
    assert (done.told, done.dropped) == (0, 0)
    assert outcomes.read(tmp_path / "toy" / CELL.directory)["state"] == "failed"
