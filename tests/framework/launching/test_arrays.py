"""What is known of arrays and tasks without a scheduler."""

import os
import subprocess
from types import SimpleNamespace

import pytest

from framework.errors import UserError
from framework.grid.manifest import Job, Submission
from framework.launching import arrays, executors, pool


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
    monkeypatch.setattr(arrays.shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=squeue))
    submission = Submission("slurm", "token", "host", 0.0, jobs)
    assert arrays.reconcile(submission, "grid") == any(ids)
    assert [job.id for job in jobs] == ["88_0", *ids]


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


def test_paths_that_slurm_reads_otherwise_are_refused(tmp_path):
    executors.check_path(tmp_path / "with 'quotes' and spaces")
    for name in ("100%a", "back\\slash"):
        with pytest.raises(UserError, match="choose another --output"):
            executors.check_path(tmp_path / name)
