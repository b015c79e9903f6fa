"""States: what heartbeats say, and what they only seem to say."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from framework.grid.manifest import CellRecord, Job, Manifest, Submission
from framework.launching import claims, view
from framework.launching.states import Jobs, ask_slurm, cell_status, read_states

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


def test_a_run_whose_lock_cannot_be_seen_is_believed_while_it_speaks(tmp_path, slurm_says):
    run = tmp_path / CELL.directory
    array = Submission("slurm", "t", "login", 1.0, [Job("5_0", [CELL.directory])])
    slurm_says("5|0|RUNNING|None")
    beat(run, state="running", step=7, host="another")
    assert state(tmp_path, array).state == "running"
    beat(run, state="running", step=7, host="another", updated=time.time() - 3600)
    assert state(tmp_path, array).state == "queued"  # requeued, perhaps
    slurm_says("")
    assert state(tmp_path, array).state == "stopped"


def test_what_waits_says_why(tmp_path, slurm_says):
    array = Submission("slurm", "t", "login", 1.0, [Job("5_0", [CELL.directory])])
    slurm_says("5|0|PENDING|Priority\n6|N/A|RUNNING|None\n7|3|COMPLETED|None")
    found = state(tmp_path, array)
    assert (found.state, found.reason, found.job) == ("queued", "Priority", "5_0")
    assert ask_slurm(["5"]) == {"5_0": ("queued", "Priority"), "6": ("running", "")}


@pytest.fixture
def slurm_says(tmp_path, monkeypatch):
    """A squeue that prints what it is told to."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "squeue").write_text(f"#!/bin/sh\ncat {tmp_path}/queue\n")
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return lambda text: (tmp_path / "queue").write_text(text)


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
