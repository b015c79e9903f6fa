"""Toy grids on a real SLURM."""

import json
import os
import signal
import subprocess

import pytest

from framework.errors import UserError
from framework.grid.manifest import Manifest
from framework.launching import arrays, presenting
from framework.launching.cancelling import cancel
from framework.launching.launch import launch
from framework.launching.states import read_states
from tests.slurm_cluster import Cluster, missing, said

from .conftest import act, job_processes, options, results, states, toy_plan, until

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=f"needs SLURM; not installed: {missing()}"),
    pytest.mark.timeout(300),
]
WAITING = {"target_decay=0.9": {"wait": 7}, "target_decay=0.99": {"wait": 7}}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with Cluster() as running:
        yield running


def starts(grid):
    return {str(p.parent.relative_to(grid)): p.read_text().split() for p in grid.glob("*/*/starts")}


def beat_of(grid, directory):
    return json.loads((grid / directory / "heartbeat.json").read_text())


def on_slurm(**more):
    return options(executor="auto", **more)


def ended(grid):
    return set(states(grid).values()) == {"done"}


def test_an_array_gives_what_local_processes_give_and_runs_once(planned, grid, undisturbed):
    launched = launch(planned, grid, on_slurm())
    assert launched.executor == "slurm"
    ids = [job.id for job in launched.submission.jobs]
    array = ids[0].partition("_")[0]
    assert ids == [f"{array}_{index}" for index in range(4)]
    assert launch(planned, grid, on_slurm()).started == []  # queued or running by now
    until(lambda: ended(grid), "the array")
    assert results(grid) == undisturbed
    assert launch(planned, grid, on_slurm()).started == []
    assert all(each == ["0"] for each in starts(grid).values())


def test_a_run_preempted_twice_is_requeued_and_resumes(planned, grid, undisturbed):
    act(grid, WAITING)
    launched = launch(planned, grid, on_slurm())
    until(lambda: list(states(grid).values()).count("running") == 4, "four runs")
    until(lambda: len(list(grid.glob("*/*/state.json"))) == 4, "checkpoints")
    job = launched.submission.jobs[0]
    for count in (1, 2):  # TERM, then USR2: as SLURM preempts with a grace time
        act(grid, WAITING | {"target_decay=0.9": {"wait": 7 + count}})  # where it then stands still
        subprocess.check_call(["scancel", "--signal=TERM", job.id])
        subprocess.check_call(["scancel", "--signal=USR2", job.id])
        until(lambda n=count: f"Restarts={n}" in said("scontrol", "show", "job", job.id), "requeue")
        until(lambda n=count: len(starts(grid)[job.cells[0]]) == n + 1, "the run to begin again")
        until(lambda n=count: beat_of(grid, job.cells[0])["step"] == 7 + n, "it to stand still")
    (grid / "go").touch()
    until(lambda: ended(grid), "everything")
    assert results(grid) == undisturbed
    assert starts(grid)[job.cells[0]] == ["0", "8", "9"]


def test_a_bare_requeue_and_a_killed_run_go_on_from_the_last_checkpoint(planned, grid, undisturbed):
    act(grid, WAITING)
    launched = launch(planned, grid, on_slurm())
    until(lambda: len(list(grid.glob("*/*/state.json"))) == 4, "checkpoints")
    requeued = launched.submission.jobs[0]
    subprocess.check_call(["scontrol", "requeue", requeued.id])
    until(lambda: "Restarts=1" in said("scontrol", "show", "job", requeued.id), "the requeue")
    victim = launched.submission.jobs[1].cells[0]
    beat = {s.directory: s for s in read_states(grid, launched.manifest)}
    assert beat[victim].state == "running"
    lock = (grid / victim / "lock").read_text().split()
    os.kill(int(lock[0]), signal.SIGKILL)
    until(lambda: states(grid)["target_decay=0.9/1"] == "stopped", "the killed run to be seen")
    (grid / "go").touch()
    until(lambda: list(states(grid).values()).count("done") == 3, "the others")
    assert len(launch(planned, grid, on_slurm()).started) == 1
    until(lambda: ended(grid), "the last one")
    assert results(grid) == undisturbed


def test_a_job_that_is_requeued_too_often_is_given_up(grid, undisturbed):
    planned = toy_plan("launch.requeues = 0")
    act(grid, WAITING)
    job = launch(planned, grid, on_slurm()).submission.jobs[0]
    until(lambda: len(list(grid.glob("*/*/state.json"))) == 4, "checkpoints")
    subprocess.check_call(["scontrol", "requeue", job.id])
    until(lambda: beat_of(grid, job.cells[0])["state"] == "failed", "the run to be given up")
    assert beat_of(grid, job.cells[0])["cause"] == "given up at attempt 2 (launch.requeues = 0)"
    (grid / "go").touch()
    until(lambda: list(states(grid).values()).count("done") == 3, "the others")
    assert launch(planned, grid, on_slurm()).started == []
    launch(planned, grid, on_slurm(retry="failed"))
    until(lambda: ended(grid), "the one that was given up")
    assert results(grid) == undisturbed


def test_runs_share_a_job_if_asked(grid, undisturbed):
    planned = toy_plan("launch.runs_per_job = 3")
    launched = launch(planned, grid, on_slurm())
    assert [len(job.cells) for job in launched.submission.jobs] == [3, 1]
    until(lambda: ended(grid), "everything")
    assert results(grid) == undisturbed


def test_arms_with_other_resources_get_an_array_of_their_own(grid):
    arms = {"small": {"train.batch_size": 8}, "big": {"train.batch_size": 9, "launch.cpus": 2}}
    planned = toy_plan("grid.axes = {}", f"grid.arms = {arms!r}")
    launched = launch(planned, grid, on_slurm())
    arrays = {
        j.cells[0].partition("/")[0]: j.id.partition("_")[0] for j in launched.submission.jobs
    }
    assert arrays["baseline"] == arrays["small"] != arrays["big"]
    until(lambda: ended(grid), "everything")


def test_more_jobs_than_an_array_may_have_are_split(planned, grid, undisturbed, monkeypatch):
    assert arrays.largest_array() == 1000  # MaxArraySize counts from 0
    monkeypatch.setattr(arrays, "largest_array", lambda: 3)
    ids = [job.id for job in launch(planned, grid, on_slurm()).submission.jobs]
    assert [each.partition("_")[2] for each in ids] == [
        "0",
        "1",
        "2",
        "",
    ]  # one job alone is no array
    until(lambda: ended(grid), "everything")
    assert results(grid) == undisturbed


def test_a_killed_launcher_leaves_no_orphan(planned, grid, undisturbed):
    launched = launch(planned, grid, on_slurm())
    manifest = Manifest.read(grid)
    for job in manifest.submissions[0].jobs:
        job.id = ""  # as if it had died between sbatch and its answer
    manifest.write(grid)
    assert launch(planned, grid, on_slurm()).started == []
    found = Manifest.read(grid).submissions[0].jobs
    assert [job.id for job in found] == [job.id for job in launched.submission.jobs]
    until(lambda: ended(grid), "everything")
    assert results(grid) == undisturbed


def test_cancelling_an_arm_leaves_those_that_share_its_job(grid):
    arms = ("target_decay=0.9", "target_decay=0.99")
    act(grid, {arm: {"wait": 3} for arm in arms})
    launched = launch(toy_plan("launch.runs_per_job = 4"), grid, on_slurm())
    assert len(launched.submission.jobs) == 1
    until(lambda: set(states(grid).values()) == {"running"}, "all runs to begin")
    done = cancel(grid, [arms[0]])
    assert (done.told, done.dropped) == (2, 0)
    until(lambda: [*states(grid).values()].count("stopped") == 2, "the arm to stop")
    (grid / "go").touch()
    until(lambda: "running" not in states(grid).values(), "the end")
    found = states(grid)
    assert {found[f"{arms[0]}/{seed}"] for seed in (0, 1)} == {"stopped"}
    assert {found[f"{arms[1]}/{seed}"] for seed in (0, 1)} == {"done"}


def test_cancelling_ends_jobs_that_run_and_wait(planned, grid):
    act(grid, WAITING)
    planned = toy_plan("launch.max_parallel = 1")
    launched = launch(planned, grid, on_slurm())
    until(lambda: "running" in states(grid).values(), "a run")
    until(lambda: "JobArrayTaskLimit" in {s.reason for s in
          read_states(grid, launched.manifest)}, "reasons")  # fmt: skip
    done = cancel(grid)
    assert (done.told, done.dropped) == (1, 3)
    until(lambda: not job_processes(grid) and not said("squeue", "-h").strip(), "the end")
    assert set(states(grid).values()) == {"stopped"}
    (grid / "go").touch()
    assert len(launch(toy_plan(), grid, on_slurm()).started) == 4
    until(lambda: ended(grid), "everything")


def test_what_sbatch_refuses_is_shown_in_its_words(grid):
    with pytest.raises(UserError, match=r"sbatch refuses: sbatch: error: .*partition.*nowhere"):
        launch(toy_plan("launch.partition = 'nowhere'"), grid, on_slurm())
    assert not grid.exists()


def test_a_dead_node_requeues_its_runs(cluster, planned, grid, undisturbed):
    act(grid, WAITING)
    launched = launch(planned, grid, on_slurm())
    until(lambda: len(list(grid.glob("*/*/state.json"))) == 4, "checkpoints")
    cluster.kill_node()
    died = int((grid / launched.submission.jobs[0].cells[0] / "lock").read_text().split()[0])
    os.killpg(
        os.getpgid(died), signal.SIGKILL
    )  # the other runs go on as orphans: their locks say so
    cluster.start_node()
    until(lambda: all("Restarts=1" in said("scontrol", "show", "job", j.id)
                      for j in launched.submission.jobs), "the requeues")  # fmt: skip
    assert {"running", "queued"} >= set(states(grid).values())
    (grid / "go").touch()
    until(lambda: ended(grid), "everything")
    assert results(grid) == undisturbed
    again = starts(grid)[launched.submission.jobs[0].cells[0]]
    assert (again[0], int(again[1]) >= 5) == ("0", True)  # from its checkpoint


def test_an_array_that_is_refused_leaves_those_before_it(grid):
    refused = {"small": {"train.batch_size": 8},
               "big": {"train.batch_size": 9, "launch.partition": "nowhere"}}  # fmt: skip
    arms = [f"grid.arms = {refused}", "grid.axes = {}", "grid.seeds = 2"]
    words = (
        r"sbatch refuses: sbatch: error: .*partition.*nowhere.* \(from --partition nowhere or "
        r"launch\.partition\); 4 of 6 runs were submitted: launch again for the rest"
    )
    with pytest.raises(UserError, match=words):
        launch(toy_plan(*arms), grid, on_slurm())
    assert sum(bool(job.id) for job in Manifest.read(grid).submissions[0].jobs) == 4
    mended = launch(toy_plan(arms[0].replace("nowhere", "debug"), *arms[1:]), grid, on_slurm())
    assert [directory.partition("/")[0] for directory in mended.started] == ["big", "big"]
    until(lambda: ended(grid), "everything")
    assert all(each == ["0"] for each in starts(grid).values())


def test_fail_fast_stops_the_other_jobs_of_an_array(planned, grid):
    act(grid, {"target_decay=0.9": {"fail": 3}, "target_decay=0.99": {"wait": 3}})
    launched = launch(planned, grid, on_slurm(fail_fast=True))
    until(lambda: not ({"queued", "running"} & set(states(grid).values())), "all jobs to end")
    assert "failed" in states(grid).values()
    assert not {"done", "diverged"} & set(states(grid).values())
    assert (grid / launched.submission.stop).exists()


def test_a_setup_command_that_fails_is_told_with_its_words(grid, capfd):
    planned = toy_plan("grid.seeds = 1", "launch.setup = ['echo no such module', 'false']")
    launched = launch(planned, grid, on_slurm())
    until(lambda: set(states(grid).values()) == {"failed"}, "the end")
    presenting.show_failures(grid, read_states(grid, launched.manifest))
    told = capfd.readouterr().err
    assert f"failed at step 0: job {launched.submission.jobs[0].id} failed" in told
    assert "    no such module" in told


def test_a_prefix_stands_before_python(grid):
    """A container's command does."""
    planned = toy_plan("grid.seeds = 1", "launch.prefix = 'env IN_CONTAINER=yes'")
    launch(planned, grid, on_slurm(runner="tests.framework.launching.environments:run"))
    until(lambda: ended(grid), "the array")
    seen = [json.loads(path.read_text()) for path in grid.glob("*/*/environment.json")]
    assert [environment["IN_CONTAINER"] for environment in seen] == ["yes", "yes"]


def test_two_hundred_cells_packed_into_a_few_jobs(grid):
    planned = toy_plan("grid.seeds = 100", "launch.runs_per_job = 50")
    launched = launch(planned, grid, on_slurm())
    assert len(launched.submission.jobs) == 4
    until(lambda: ended(grid), "200 runs", seconds=240)
    assert len(results(grid)) == 200
    assert all(each == ["0"] for each in starts(grid).values())
    assert launch(planned, grid, on_slurm()).started == []


def test_a_real_time_limit_requeues_and_resumes(grid, undisturbed):
    planned = toy_plan("launch.time = '1'")
    act(grid, WAITING)
    launched = launch(planned, grid, on_slurm())
    until(lambda: all(len(s) > 1 for s in starts(grid).values()) and len(starts(grid)) == 4,
          "every run to begin again", seconds=200)  # fmt: skip
    (grid / "go").touch()
    until(lambda: ended(grid), "the array", seconds=200)
    assert results(grid) == undisturbed
    ids = [job.id for job in launched.submission.jobs]
    assert [job.id for job in Manifest.read(grid).submissions[0].jobs] == ids
