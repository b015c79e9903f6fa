"""Toy grids: real configurations and processes, runs that take milliseconds."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import framework.training.experiment  # noqa: F401  registers train.*
from framework.configuration import Configuration
from framework.grid.manifest import Manifest
from framework.grid.plan import Plan, plan
from framework.launching.job_files import JOBS
from framework.launching.launch import Launched, Options, launch
from framework.launching.states import read_states
from framework.launching.waiting import wait
from framework.runs import claims

REPOSITORY = Path(__file__).parents[3]
RUNNER = "tests.framework.launching.toy:run"
DEADLINE_SECONDS = 60.0
AXIS = "grid.axes = {'losses.tvm.target_decay': [0.9, 0.99]}"


def toy_plan(*sets: str) -> Plan:
    base = ["grid.name = 'toy'", AXIS, "grid.seeds = 2", "train.steps = 12", "train.device = 'cpu'"]
    return plan(Configuration.load([REPOSITORY / "gin/digits.gin"], [*base, *sets]), "toy")


def options(**more) -> Options:
    return Options(**{"executor": "local", "runner": RUNNER, **more})


def until(true: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def run_all(planned: Plan, grid: Path, **more) -> Launched:
    launched = launch(planned, grid, options(**more))
    wait(grid, launched.manifest)
    return launched


def until_jobs_end(launched: Launched) -> None:
    """Wait for a local launch's last file: cells are done a little before their job is."""
    assert launched.submission is not None
    for job in launched.submission.jobs:
        answer = launched.grid / JOBS / f"{job.id}_0_result.pkl"
        until(answer.exists, f"job {job.id} to end")


def states(grid: Path) -> dict[str, str]:
    manifest = Manifest.read(grid)
    assert manifest is not None
    return {f"{s.arm}/{s.seed}": s.state for s in read_states(grid, manifest)}


def results(grid: Path) -> dict[str, int]:
    return {
        str(path.parent.relative_to(grid)): json.loads(path.read_text())
        for path in grid.glob("*/*/result.json")
    }


def act(grid: Path, acts: dict) -> None:
    grid.mkdir(exist_ok=True)
    (grid / ".toy.json").write_text(json.dumps(acts))


def job_processes(grid: Path) -> list[int]:
    """Processes that hold a lock of the grid's jobs: pools first, then runs."""
    locks = [*grid.glob(".jobs/*.lock"), *grid.glob("*/*/lock")]
    return [holder[0] for lock in locks if (holder := claims.holder(lock))]


@pytest.fixture(scope="session")
def planned() -> Plan:
    return toy_plan()


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Path]:
    """Yield a grid's folder; what still runs there at the end is killed."""
    directory = tmp_path / "toy"
    yield directory
    for process in job_processes(directory):
        os.kill(process, signal.SIGKILL)
    until(lambda: not job_processes(directory), "processes to end")


@pytest.fixture(scope="session")
def undisturbed(planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The results of the toy grid when nothing happens to it."""
    directory = tmp_path_factory.mktemp("undisturbed") / "toy"
    run_all(planned, directory)
    return results(directory)
