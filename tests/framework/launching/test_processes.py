"""Runs of several processes: what is refused before a launch, and how a local job starts them."""

import pytest

from framework.errors import UserError
from framework.grid.resources import Resources
from framework.launching.executors import _sbatch_options
from framework.launching.processes import check
from framework.launching.states import read_states

from .conftest import run_all, states, toy_plan, until


def refused(executor, *sets):
    with pytest.raises(UserError) as caught:
        check(toy_plan(*sets).cells, executor)
    return str(caught.value)


def test_what_processes_cannot_do_is_refused_before_a_launch():
    two = "launch.processes = 2"
    assert "cannot share train.batch_size = 9" in refused("slurm", two, "train.batch_size = 9")
    assert "train.cuda_graphs" in refused(
        "slurm", two, "train.cuda_graphs = True", "train.distribution = 'fsdp'"
    )
    assert "this machine is one node" in refused("local", "launch.nodes = 2")
    assert "--executor inline runs in this process" in refused("inline", two)
    arms = {"a": {"launch.processes": 2, "train.batch_size": 8}}
    mixed = ("grid.axes = {}", f"grid.arms = {arms!r}")
    assert "runs with 1 and 2 processes" in refused("local", *mixed)
    check(toy_plan(*mixed).cells, "slurm")


def test_processes_are_one_a_gpu_unless_said():
    assert Resources(nodes=2, gpus=8).processes_per_run == 16
    assert Resources(nodes=2, processes=2).processes_per_run == 4
    assert Resources().processes_per_run == 1
    with pytest.raises(ValueError, match="each has one GPU"):
        Resources(gpus=4, processes=2)
    with pytest.raises(ValueError, match="train in one process each"):
        Resources(gpus=2, runs_per_job=2)


def test_a_cluster_is_asked_for_a_task_a_process():
    options = _sbatch_options("name", Resources(nodes=2, gpus=8))
    assert (options["nodes"], options["ntasks_per_node"], options["gpus_per_node"]) == (2, 8, 8)
    assert options["srun_args"] == ["--kill-on-bad-exit=1"]
    assert _sbatch_options("name", Resources())["ntasks_per_node"] == 1


def test_a_local_job_starts_the_processes_of_a_run(grid, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "of a torchrun around this")
    planned = toy_plan("launch.processes = 2", "grid.axes = {}", "grid.seeds = 1")
    run_all(planned, grid, runner="tests.framework.launching.ranked:run")
    assert set(states(grid).values()) == {"done"}
    (run,) = [path.parent for path in grid.glob("*/*/rank-0")]
    other = run / "rank-1"  # the first process does not wait for it before it says 'done'
    until(lambda: other.exists() and other.read_text(), "the other process")
    seen = [(run / f"rank-{rank}").read_text().split() for rank in (0, 1)]
    assert [name for name, *_ in seen] == ["0", "1"]
    assert seen[0][1:] == seen[1][1:]  # world size and where to meet
    assert seen[0][-2:] == ["port=False", "elastic=False"]  # nobody else can meet there


@pytest.mark.parametrize(
    ("runner", "words"),
    [
        ("killed", "process 1 of 2 was killed by SIGKILL"),
        ("aborted", "process 1 of 2: ValueError: the reason"),
    ],
)
def test_what_ended_a_run_is_named_and_not_what_followed(grid, runner, words):
    planned = toy_plan("launch.processes = 2", "grid.axes = {}", "grid.seeds = 1")
    run_all(planned, grid, runner=f"tests.framework.launching.ranked:{runner}")

    def is_named() -> bool:
        (status,) = read_states(grid, planned.manifest(""))
        return (status.state, status.cause) == ("failed", words)

    until(is_named, words)  # the other one may have said its own before
