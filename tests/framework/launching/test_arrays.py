"""What is known of arrays and tasks without a scheduler."""

import os
import subprocess

import pytest

from framework.errors import UserError
from framework.grid.manifest import Job, Manifest, Submission
from framework.launching import arrays, executors, pool, scheduler
from framework.launching.cancelling import cancel
from framework.launching.launch import launch
from framework.runs import outcomes

from .conftest import options, toy_plan
from .test_states import CELL, manifest_of


@pytest.mark.parametrize(
    ("squeue", "ids"),
    [
        ("90|2\n90|3\n", ["", "", "90_2", "90_3"]),  # the others have been forgotten
        ("90|0\n90|3\n", ["90_0", "", "", "90_3"]),
        ("88|0\n91|N/A\n", ["91", "", "", ""]),  # 88 is known
        ("", ["", "", "", ""]),
    ],
)
def test_jobs_that_a_killed_launcher_left_without_ids_get_their_own(monkeypatch, squeue, ids):
    jobs = [Job("88_0", ["first"]), *(Job("", [f"cell{number}"]) for number in range(4))]
    answer = subprocess.CompletedProcess((), 0, squeue, "")
    monkeypatch.setattr(arrays, "said", lambda *command: answer)
    submission = Submission("slurm", "token", "host", 0.0, jobs)
    assert arrays.reconcile(submission, "grid") == any(ids)
    assert [job.id for job in jobs] == ["88_0", *ids]


@pytest.fixture
def silent(tmp_path, monkeypatch):
    """A SLURM whose programs do not answer."""
    for name in ("squeue", "scontrol", "scancel"):
        (tmp_path / name).write_text("#!/bin/sh\nexec sleep 60\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(scheduler, "ASK_SECONDS", 0.1)


def test_a_slurm_that_does_not_answer_breaks_nothing(silent, tmp_path):
    assert arrays.largest_array() == 1000  # as it is by default
    submission = Submission("slurm", "t", "host", 0.0, [Job("", [CELL.directory])])
    assert not arrays.reconcile(submission, "grid")
    submission.jobs[0].id = "5"
    manifest_of([CELL], [submission]).write(tmp_path)
    (tmp_path / CELL.directory).mkdir(parents=True)
    with pytest.raises(UserError, match="scancel refuses: no answer for 0 s"):
        cancel(tmp_path)


@pytest.mark.parametrize("accepted", [0, 1])
def test_what_was_submitted_when_a_launch_is_interrupted_is_known(tmp_path, monkeypatch, accepted):
    arms = {"small": {"train.batch_size": 8}, "big": {"train.batch_size": 9, "launch.cpus": 2}}
    answers = iter([["90_0", "90_1"]][:accepted])

    def sbatch(folder, name, pools, resources, code):
        for ids in answers:
            return ids
        raise KeyboardInterrupt  # before it has answered, but perhaps not before it did its work

    monkeypatch.setattr(executors, "choose", lambda executor: "slurm")
    monkeypatch.setattr(executors, "submit_slurm", sbatch)
    monkeypatch.setattr(arrays, "largest_array", lambda: 1000)
    planned = toy_plan("grid.axes = {}", "grid.seeds = 1", f"grid.arms = {arms!r}")
    with pytest.raises(KeyboardInterrupt):
        launch(planned, tmp_path / "toy", options(executor="slurm"))
    (submission,) = Manifest.read(tmp_path / "toy").submissions
    assert [job.id for job in submission.jobs] == [["", "", ""], ["90_0", "90_1", ""]][accepted]


@pytest.mark.parametrize(
    ("environment", "cores"),
    [
        ({}, 8),
        ({"SLURM_CPUS_ON_NODE": "1"}, 1),
        ({"SLURM_CPUS_ON_NODE": "6", "SLURM_TASKS_PER_NODE": "2(x3)"}, 3),
        ({"SLURM_CPUS_ON_NODE": "6", "SLURM_CPUS_PER_TASK": "4"}, 4),
        ({"SLURM_CPUS_ON_NODE": "64"}, 8),
    ],
)
def test_a_task_takes_the_cores_that_its_job_was_given(monkeypatch, environment, cores):
    for name in ("SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK", "SLURM_TASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8))
    assert pool.cores() == cores


@pytest.mark.parametrize("stop", ["t.stop", ""])
def test_a_run_that_is_given_up_has_failed_and_stops_the_others_if_asked(tmp_path, stop):
    run = tmp_path / "a/seed=0"
    run.mkdir(parents=True)
    job = pool.Pool(str(tmp_path), ["a/seed=0"], "", created=1.0, requeues=0, stop=stop)
    job._give_up()
    assert outcomes.read(run)["state"] == "failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", *filter(None, [stop])]


def test_paths_that_slurm_reads_otherwise_are_refused(tmp_path):
    executors.check_path(tmp_path / "with 'quotes' and spaces")
    for name in ("100%a", "back\\slash"):
        with pytest.raises(UserError, match="choose another --output"):
            executors.check_path(tmp_path / name)
