"""States: what heartbeats say, and what they only seem to say."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from framework.explaining.account import account
from framework.grid.manifest import CellRecord, Job, Manifest, Submission
from framework.launching import view
from framework.launching.job_files import JOBS, job_log
from framework.launching.scheduler import JobState, Scheduler
from framework.launching.states import Jobs, cell_status, read_states
from framework.runs import claims, outcomes

from .conftest import REPOSITORY


def manifest_of(cells, submissions=()):
    return Manifest(
        name="toy", description="", metric="fd", metric_nfe=1, baseline="a", seeds=[0], axes={},
        zips={}, equivalent=[], arms=[{"name": "a", "settings": {}}], cells=list(cells),
        command="", created=0.0, submissions=list(submissions),
    )  # fmt: skip


def beat(run: Path, **values):
    run.mkdir(parents=True, exist_ok=True)
    now = {"updated": time.time(), "pid": os.getpid(), "host": os.uname().nodename}
    (run / "heartbeat.json").write_text(json.dumps(now | values))


CELL = CellRecord("a", 0, "f" * 64, "a/seed=0-ffffffff")


def state(grid, *submissions):
    return cell_status(grid, CELL, Jobs(grid, submissions))


def test_a_dead_run_behind_a_fresh_heartbeat_is_found_out(tmp_path):
    run = tmp_path / CELL.directory
    beat(run, state="running", step=7, steps=10)
    found = state(tmp_path)
    assert (found.state, found.cause) == ("stopped", "its process is gone, at step 7")
    with claims.claim(run) as mine:
        assert mine
        assert state(tmp_path).state == "running"
    assert state(tmp_path).state == "stopped"


def test_a_diverged_run_is_at_the_step_where_it_did(tmp_path):
    run = tmp_path / CELL.directory
    beat(run, state="diverged", step=20, diverged_step=2, cause="loss/total not finite at step 2")
    assert view.describe(manifest_of([CELL]), state(tmp_path)) == "diverged at 2"


@pytest.mark.parametrize("says", ["diverged", "failed"])
def test_a_run_that_has_said_how_it_ended_runs_until_its_process_has(tmp_path, says):
    run = tmp_path / CELL.directory
    beat(run, state=says, step=7)  # a divergence is replayed for minutes, say
    with claims.claim(run):
        assert state(tmp_path, ARRAY).state == "running"  # so that no --retry puts it away
    assert state(tmp_path, ARRAY).state == says


def test_a_run_whose_lock_cannot_be_seen_is_believed_while_it_speaks(tmp_path, slurm_says):
    run = tmp_path / CELL.directory
    slurm_says("5|0|RUNNING|None")
    beat(run, state="running", step=7, host="another")
    assert state(tmp_path, ARRAY).state == "running"
    beat(run, state="running", step=7, host="another", updated=time.time() - 3600)
    assert state(tmp_path, ARRAY).state == "queued"  # requeued, perhaps
    slurm_says("")
    assert state(tmp_path, ARRAY).state == "stopped"


def test_what_waits_says_why(tmp_path, slurm_says):
    slurm_says("5|0|PENDING|Priority\n6|N/A|RUNNING|None\n7|3|COMPLETED|None")
    found = state(tmp_path, ARRAY)
    assert (found.state, found.reason, found.job) == ("queued", "Priority", "5_0")
    slurm = Scheduler(["5_0", "6"])
    assert slurm.job("5_0") == JobState("queued", "Priority")
    assert slurm.job("6") == JobState("running")


# As SLURM 22.05 with slurmdbd printed it: sacct -n -P -X --jobs=1,2,3 --format=JobID,State
ACCOUNTS = """\
5_0|{}
5_1|RUNNING
"""


@pytest.mark.parametrize(
    ("beat_says", "accounts", "expected"),
    [
        ({"state": "running"}, "TIMEOUT", ("stopped", "job 5_0 ran into its time limit")),
        ({"state": "running"}, "NODE_FAIL", ("stopped", "job 5_0 lost its node")),
        ({"state": "running"}, "OUT_OF_MEMORY", ("failed", "job 5_0 ran out of memory")),
        ({"state": "running"}, "CANCELLED by 0", ("stopped", "job 5_0 was cancelled by root")),
        ({"state": "running"}, "COMPLETED", ("stopped", "its process is gone, at step 7")),
        (
            {"state": "stopped", "cause": outcomes.KILLED},
            "OUT_OF_MEMORY",
            ("failed", "job 5_0 ran out of memory"),
        ),
        (
            {"state": "stopped", "cause": "asked to stop by SIGTERM"},
            "CANCELLED by 0",
            ("stopped", "asked to stop by SIGTERM; job 5_0 was cancelled by root"),
        ),
        ({"state": "stopped", "cause": "cancelled"}, "CANCELLED by 0", ("stopped", "cancelled")),
        ({"state": "done"}, "CANCELLED by 0", ("done", "")),
    ],
)
def test_how_a_job_ended_is_read_from_accounts(tmp_path, slurm_says, beat_says, accounts, expected):
    slurm_says("", accounts=ACCOUNTS.format(accounts))
    beat(tmp_path / CELL.directory, step=7, host="another", **beat_says)
    found = state(tmp_path, ARRAY)
    assert (found.state, found.cause) == expected


def test_a_cancelled_run_that_was_launched_again_waits(tmp_path):
    beat(tmp_path / CELL.directory, state="stopped", cause=outcomes.CANCELLED, updated=100.0)
    lock = f"{JOBS}/t.lock"
    before, again = (
        Submission("local", "t", "here", created, [Job("5", [CELL.directory])], lock)
        for created in (99.0, 101.0)
    )
    (tmp_path / JOBS).mkdir()
    with claims.hold(tmp_path / lock):  # the job lives, and has not come to this run yet
        assert state(tmp_path, before).state == "stopped"
        assert state(tmp_path, before, again).state == "queued"


@pytest.mark.parametrize("says", ["stopped", "failed", "running"])
def test_what_a_run_said_before_it_was_submitted_again_does_not_count(tmp_path, slurm_says, says):
    before = time.time() - 60.0
    beat(tmp_path / CELL.directory, state=says, cause="of before", host="another", updated=before)
    again = Submission("slurm", "t", "login", time.time(), [Job("5_0", [CELL.directory])])
    slurm_says("5|0|FAILED|NonZeroExitCode")  # a setup command, say
    assert (state(tmp_path, again).state, state(tmp_path, again).cause) == (
        "failed",
        "job 5_0 failed",
    )
    slurm_says("5|0|RUNNING|None")
    assert state(tmp_path, again).state == "queued"


def test_a_run_that_stopped_in_a_local_job_does_not_wait_for_its_others(tmp_path, slurm_says):
    beat(tmp_path / CELL.directory, state="stopped", cause=outcomes.KILLED)
    local = Submission("local", "t", "here", 1.0, ARRAY.jobs, f"{JOBS}/t.lock")
    (tmp_path / JOBS).mkdir()
    with claims.hold(tmp_path / local.lock):  # nobody starts it again
        assert (state(tmp_path, local).state, state(tmp_path, local).cause) == (
            "stopped",
            outcomes.KILLED,
        )
    slurm_says("5|0|RUNNING|None")
    assert state(tmp_path, ARRAY).state == "queued"  # its job is about to be requeued, perhaps


def test_a_run_that_never_began_says_what_became_of_its_job(tmp_path, slurm_says):
    slurm_says("5|0|FAILED|NonZeroExitCode")  # a setup command, say
    assert (state(tmp_path, ARRAY).state, state(tmp_path, ARRAY).cause) == (
        "failed",
        "job 5_0 failed",
    )
    slurm_says("")  # forgotten, and there are no accounts
    assert state(tmp_path, ARRAY).state == ""


def test_an_account_of_it_says_the_same_and_shows_the_jobs_log(tmp_path, slurm_says):
    slurm_says("5|0|FAILED|NonZeroExitCode")
    manifest_of([CELL], [ARRAY]).write(tmp_path)
    run, log = tmp_path / CELL.directory, job_log(tmp_path, "5_0")
    run.mkdir(parents=True)
    (run / "config.gin").touch()
    log.parent.mkdir()
    log.write_text("no such module\n")
    found = account(run)
    assert (found.state, found.cause) == ("failed", "job 5_0 failed")
    assert found.log == ["no such module"]


def test_an_account_of_a_run_that_nobody_has_submitted_does_not_call_it_queued(tmp_path):
    manifest_of([CELL]).write(tmp_path)
    run = tmp_path / CELL.directory
    run.mkdir(parents=True)
    (run / "config.gin").touch()
    assert account(run).state == view.NOT_STARTED


def test_an_account_of_a_former_run_says_what_its_grid_knows(tmp_path):
    manifest = manifest_of([])
    manifest.former = [CELL]
    manifest.write(tmp_path)
    beat(tmp_path / CELL.directory, state="queued", step=7)  # its process was killed as it began
    found = account(tmp_path / CELL.directory)
    assert (found.state, found.cause) == ("stopped", "its process is gone, at step 7")


def test_slurm_is_asked_once_each_whatever_the_number_of_runs(tmp_path, slurm_says):
    cells = [CellRecord("a", seed, f"{seed:064x}", f"a/seed={seed}") for seed in range(50)]
    jobs = [Job(f"5_{index}", [cell.directory]) for index, cell in enumerate(cells)]
    slurm_says("5|49|PENDING|Priority", accounts="\n".join(f"5_{i}|TIMEOUT" for i in range(49)))
    submission = Submission("slurm", "t", "login", 1.0, jobs)
    found = read_states(tmp_path, manifest_of(cells, [submission]))
    assert [s.state for s in found] == ["stopped"] * 49 + ["queued"]
    assert (tmp_path / "asked").read_text().split() == ["squeue", "sacct"]


def test_a_controller_that_is_down_ends_nothing(tmp_path, slurm_says):
    slurm_says("", error="slurm_load_jobs error: Unable to contact slurm controller")
    beat(tmp_path / CELL.directory, state="running", host="another", updated=1.0)
    found = state(tmp_path, ARRAY)
    assert (found.state, found.reason) == ("queued", "slurmctld does not answer")


ARRAY = Submission("slurm", "t", "login", 1.0, [Job("5_0", [CELL.directory])])


@pytest.fixture
def slurm_says(tmp_path, monkeypatch):
    """A squeue and a sacct that print what they are told to; they write down that they ran."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("squeue", "sacct"):
        said = tmp_path / name
        (programs / name).write_text(
            f"#!/bin/sh\necho {name} >> {tmp_path}/asked\ncat {said}\n"
            f"cat {said}.error >&2\ntest ! -s {said}.error\n"
        )
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def say(queue: str, accounts: str | None = None, error: str = "") -> None:
        (tmp_path / "squeue").write_text(queue)
        (tmp_path / "squeue.error").write_text(error)
        (tmp_path / "sacct").write_text(accounts or "")
        disabled = "" if accounts else "Slurm accounting storage is disabled"
        (tmp_path / "sacct.error").write_text(disabled)

    return say


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": null}'])
def test_an_unreadable_heartbeat_is_no_news(tmp_path, content):
    run = tmp_path / CELL.directory
    run.mkdir(parents=True)
    (run / "heartbeat.json").write_text(content)
    assert state(tmp_path).state in ("", "None")


def test_status_of_a_thousand_runs_takes_less_than_two_seconds(tmp_path):
    cells = [
        CellRecord(f"arm={i // 20}", i % 20, f"{i:064x}", f"arm={i // 20}/seed={i % 20}-{i:08x}")
        for i in range(1000)
    ]
    lock = Submission("local", "t", "host", 1.0, [Job("1", [c.directory for c in cells])], "x")
    for index, cell in enumerate(cells):
        states = ["done", "running", "failed", "queued"]
        beat(tmp_path / cell.directory, state=states[index % 4], step=5, steps=10)
        (tmp_path / cell.directory / "lock").touch()
    manifest_of(cells, [lock]).write(tmp_path)
    command = [sys.executable, str(REPOSITORY / "launch/status.py"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    start = os.times()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    end = os.times()
    used = end.children_user + end.children_system - start.children_user - start.children_system
    assert used < 2.0  # processor time: other work on the machine does not count
    assert "250 of 1000 done" in done.stdout
    assert len(done.stdout.splitlines()) < 120


def test_the_view_tells_rate_time_left_and_metric(tmp_path):
    run = tmp_path / CELL.directory
    beat(run, state="running", step=400, steps=1000, steps_per_second=10.0,
         metrics={"fd/nfe=4": 3.25, "fd/nfe=1": 4.5})  # fmt: skip
    with claims.claim(run):
        states = read_states(tmp_path, manifest_of([CELL]))
    manifest = manifest_of([CELL])
    assert view.describe(manifest, states[0]) == "400/1000  10.0/s  60 s  fd 4.5"
    assert view.summary(states) == "0 of 1 done, 1 running; 10.0 steps/s, 60 s left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "5 s"), (600, "10 min"), (3 * 3600 + 300, "3 h 05 min"), (200000, "2 d 7 h")],
)
def test_durations_read_well(seconds, words):
    assert view.duration(seconds) == words
