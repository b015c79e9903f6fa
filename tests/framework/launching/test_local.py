"""Local launches: real submitit, real processes, real kills."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from framework.errors import UserError
from framework.grid.manifest import Manifest
from framework.launching import folders, presenting
from framework.launching.cancelling import cancel
from framework.launching.launch import launch
from framework.launching.states import read_states
from framework.launching.waiting import wait
from framework.runs import claims, outcomes

from .conftest import (
    REPOSITORY,
    RUNNER,
    act,
    job_processes,
    options,
    results,
    run_all,
    states,
    toy_plan,
    until,
)

WAITING = {"target_decay=0.99": {"wait": 7}}


def starts(grid):
    return {str(p.parent.relative_to(grid)): p.read_text().split() for p in grid.glob("*/*/starts")}


def test_a_grid_runs_once_and_again_runs_nothing(planned, grid, undisturbed):
    first = run_all(planned, grid)
    assert set(states(grid).values()) == {"done"}
    assert results(grid) == undisturbed
    assert len(first.started) == 4
    again = run_all(planned, grid)
    assert again.started == []
    assert again.submission is None
    assert all(count == ["0"] for count in starts(grid).values())


@pytest.fixture
def shadows(tmp_path):
    """A user's folder whose modules are named like Python's own."""
    folder = tmp_path / "zz"
    folder.mkdir()
    for name in ("random", "queue"):
        (folder / f"{name}.py").write_text("raise ImportError('not of Python')\n")
    (folder / "users_own.py").write_text("from tests.framework.launching.toy import run as run\n")
    return folder


def test_a_users_modules_are_found_behind_pythons(planned, grid, shadows, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(shadows)])
    run_all(planned, grid, runner="users_own:run")
    assert set(states(grid).values()) == {"done"}


def test_a_job_that_cannot_start_says_why(planned, grid, tmp_path, monkeypatch):
    copy = tmp_path / "copy/framework"
    copy.mkdir(parents=True)
    (copy / "__init__.py").write_text("raise ImportError('damaged')\n")
    monkeypatch.setattr(folders, "keep_code", lambda grid, undo: copy.parent)
    with pytest.raises(UserError, match="did not start: ImportError: damaged"):
        launch(planned, grid, options())
    assert not grid.exists()


def test_a_job_that_takes_long_to_start_is_waited_for(planned, grid, monkeypatch):
    later = itertools.count(step=1000)
    clock = SimpleNamespace(time=time.time, sleep=time.sleep, monotonic=lambda: next(later))
    monkeypatch.setattr("framework.launching.launch.time", clock)
    run_all(planned, grid)
    assert set(states(grid).values()) == {"done"}


def test_a_job_that_dies_before_its_runs_says_why(planned, grid, capsys):
    launched = launch(planned, grid, options(runner="no_such_module:run"))
    assert presenting.finish(launched) == 1
    assert "ended: ModuleNotFoundError: No module named 'no_such_module'" in capsys.readouterr().err


def interrupt(*_):
    raise KeyboardInterrupt


def test_an_interrupted_launch_leaves_no_job_that_nobody_knows(planned, grid, monkeypatch):
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=interrupt)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("framework.launching.launch.time", clock)  # while it waits for its job
        launch(planned, grid, options())
    until(lambda: set(states(grid).values()) == {"done"}, "the job that was started")


def test_only_what_is_missing_is_run(planned, grid):
    run_all(toy_plan("grid.seeds = 1"), grid)
    second = run_all(planned, grid)
    assert [directory.partition("=1-")[0] for directory in second.started] == [
        "target_decay=0.9/seed",
        "target_decay=0.99/seed",
    ]
    assert set(states(grid).values()) == {"done"}


def test_threads_are_divided_and_numpy_starts_none(planned, grid):
    run_all(planned, grid, runner="tests.framework.launching.environments:run")
    seen = [json.loads(path.read_text()) for path in grid.glob("*/*/environment.json")]
    share = str(max(1, len(os.sched_getaffinity(0)) // min(2, len(os.sched_getaffinity(0)))))
    assert len(seen) == 4
    assert {entry["OMP_NUM_THREADS"] for entry in seen} == {share}
    assert {entry["OPENBLAS_NUM_THREADS"] for entry in seen} == {"1"}


def test_a_failure_a_crash_and_a_divergence_stop_no_other(grid):
    names = ["fails", "crashes", "diverges", "works"]
    bound = {name: {"train.batch_size": size} for size, name in enumerate(names, 1)}
    arms = f"grid.arms = {bound!r}"
    planned = toy_plan("grid.axes = {}", "grid.seeds = 1", arms)
    act(grid, {"fails": {"fail": 3}, "crashes": {"crash": 3}, "diverges": {"diverge": 3}})
    launched = run_all(planned, grid)
    found = {s.arm: s for s in read_states(grid, launched.manifest)}
    assert {arm: s.state for arm, s in found.items()} == {
        "baseline": "done",
        "fails": "failed",
        "crashes": "failed",
        "diverges": "diverged",
        "works": "done",
    }
    assert found["fails"].cause == "ValueError: toy failure"
    assert found["crashes"].cause == "crashed with SIGABRT"
    assert found["diverges"].cause == "nan at step 3"

    act(grid, {})
    assert run_all(planned, grid).started == []
    assert [d.partition("/")[0] for d in run_all(planned, grid, retry="failed").started] == [
        "fails",
        "crashes",
    ]
    assert states(grid)["fails/0"] == states(grid)["crashes/0"] == "done"
    assert len(run_all(planned, grid, retry="diverged").started) == 1
    assert states(grid)["diverges/0"] == "done"
    assert len(list(grid.glob(".former/diverges/*/state.json"))) == 0  # it never saved
    assert len(list(grid.glob(".former/diverges/*/heartbeat.json"))) == 1
    assert len(run_all(planned, grid, retry="all").started) == 5


def test_what_failed_on_a_host_whose_clock_is_fast_is_run_again(grid):
    planned = toy_plan("grid.axes = {}", "grid.seeds = 1")
    run_all(planned, grid)
    run = grid / planned.cells[0].directory
    outcomes.record(run, "failed", "for the test")
    ahead = outcomes.read(run) | {"updated": time.time() + 600.0}
    (run / outcomes.FILE).write_text(json.dumps(ahead))
    run_all(planned, grid, retry="failed")
    assert len(starts(grid)[planned.cells[0].directory]) == 2


def test_a_report_that_cannot_be_made_is_a_failure(planned, grid, capsys):
    launched = run_all(planned, grid)
    assert presenting.finish(launched) == presenting.FAILED
    assert "no report: " in capsys.readouterr().err


def test_fail_fast_stops_the_others(planned, grid):
    (grid / ".jobs").mkdir(parents=True)
    acts = {"target_decay=0.9": {"fail": 3}, "target_decay=0.99": {"wait": 3}}
    (grid / ".toy.json").write_text(json.dumps(acts))
    launched = launch(planned, grid, options(fail_fast=True, parallel=1))
    found = wait(grid, launched.manifest)
    assert [s.state for s in found] == ["failed", "", "", ""]
    assert len(starts(grid)) == 1


@pytest.mark.parametrize("victims", ["launcher", "job", "runs", "all"])
def test_what_is_killed_is_finished_by_the_next_launch(planned, grid, undisturbed, victims):
    act(grid, WAITING | {"target_decay=0.9": {"wait": 7}})
    command = [sys.executable, "-m", "tests.framework.launching.launcher", str(grid), "12"]
    launcher = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == b"launched\n"
    until(lambda: list(states(grid).values()).count("running") == 2, "two running runs")
    until(lambda: len(list(grid.glob("*/*/state.json"))) == 2, "two checkpoints")
    job, *runs = job_processes(grid)
    chosen = {"launcher": [launcher.pid], "job": [job], "runs": runs}
    for process in chosen.get(victims, [launcher.pid, job, *runs]):
        os.kill(process, signal.SIGKILL)
    if victims == "job":
        launcher.wait(timeout=60)  # a run whose job is gone saves and stops by itself
    (grid / "go").touch()
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    if victims == "runs":
        until(lambda: not job_processes(grid), "the job to end")
    run_all(planned, grid)
    assert set(states(grid).values()) == {"done"}
    assert results(grid) == undisturbed
    assert all(len(each) <= 2 for each in starts(grid).values())
    if victims == "launcher":
        assert all(each == ["0"] for each in starts(grid).values())
    else:
        again = [each for each in starts(grid).values() if len(each) == 2]
        assert len(again) == 2
        assert all(int(second) >= 5 for _, second in again)  # from their checkpoints


def test_two_launchers_at_once_start_every_cell_once(grid, undisturbed):
    command = [sys.executable, "-m", "tests.framework.launching.launcher", str(grid), "12"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    launchers = [subprocess.Popen(command, cwd=REPOSITORY, **quiet) for _ in range(2)]
    assert [launcher.wait(timeout=120) for launcher in launchers] == [0, 0]
    assert results(grid) == undisturbed
    assert all(each == ["0"] for each in starts(grid).values())
    assert len(Manifest.read(grid).submissions) == 1


def test_two_jobs_with_the_same_cells_share_them(planned, grid, undisturbed):
    act(grid, {"target_decay=0.9": {"wait": 7}})
    launched = launch(planned, grid, options(parallel=1))
    until(lambda: "running" in states(grid).values(), "a run")
    manifest = Manifest.read(grid)
    entry = manifest.submissions.pop()  # as if this launch had never been written down
    manifest.write(grid)
    second = launch(planned, grid, options())
    assert second.submission.lock != entry.lock
    (grid / "go").touch()
    wait(grid, launched.manifest)
    wait(grid, second.manifest)
    until(lambda: not job_processes(grid), "both jobs to end")
    assert results(grid) == undisturbed
    assert all(each == ["0"] for each in starts(grid).values())


def test_cancelling_lets_runs_save_and_leaves_the_rest_unstarted(planned, grid, undisturbed):
    (grid / ".jobs").mkdir(parents=True)
    acts = {"target_decay=0.9": {"wait": 7}, "target_decay=0.99": {"wait": 7}}
    (grid / ".toy.json").write_text(json.dumps(acts))
    launch(planned, grid, options(parallel=1))
    until(lambda: len(list(grid.glob("*/*/state.json"))) == 1, "a checkpoint")
    with pytest.raises(UserError, match=r"called 'target_decay=0\.98'; did you mean"):
        cancel(grid, ["target_decay=0.98"])
    one = cancel(grid, ["target_decay=0.99"])
    assert (one.told, one.dropped) == (0, 2)
    rest = cancel(grid)
    assert (rest.told, rest.dropped) == (1, 1)
    (grid / "go").touch()
    until(lambda: not job_processes(grid), "the job to end")
    assert set(states(grid).values()) == {"stopped"}
    assert results(grid) == {}
    run_all(planned, grid)
    assert results(grid) == undisturbed


def test_an_older_job_does_not_go_on_with_a_run_that_was_cancelled_in_a_newer_one(planned, grid):
    act(grid, WAITING | {"target_decay=0.9": {"wait": 7}})
    launch(planned, grid, options(parallel=1))
    until(lambda: states(grid)["target_decay=0.9/0"] == "running", "the first job")
    assert cancel(grid, ["target_decay=0.99"]).dropped == 2
    assert len(launch(planned, grid, options(parallel=1)).started) == 2
    until(lambda: states(grid)["target_decay=0.99/0"] == "running", "the second job")
    assert cancel(grid, ["target_decay=0.99"]).told == 1
    until(lambda: states(grid)["target_decay=0.99/0"] == "stopped", "the run to stop")
    (grid / "go").touch()
    until(lambda: not job_processes(grid), "both jobs to end")
    assert list(states(grid).values()) == ["done", "done", "stopped", "stopped"]


@pytest.fixture
def pool(grid):
    """Run the cell a/0 in a job, behind some lines of Python and others; return its heartbeat."""
    run = grid / "a/seed=0"
    run.mkdir(parents=True)
    (run / "config.gin").write_text("train.steps = 12\ntrain.seed = 0\n")

    def end(before: str = "", others: tuple[str, ...] = ()) -> dict:
        code = (
            f"import sys; from framework.launching.pool import Pool\n{before}\n"
            f"Pool(sys.argv[1], [*{others}, 'a/seed=0'], '{RUNNER}', created=1.0)()"
        )
        command = [sys.executable, "-c", code, str(grid)]
        subprocess.run(command, cwd=REPOSITORY, check=True, timeout=60)
        return outcomes.read(run)

    return end


def test_a_run_that_was_told_to_stop_stops_in_the_job_that_goes_on_with_it(grid, pool):
    """As where a job is requeued before it has come to tell the run."""
    act(grid, {"a": {"wait": 3}})
    (grid / "a/seed=0" / outcomes.STOP).touch()
    beat = pool()
    assert (beat["state"], beat["cause"]) == ("stopped", outcomes.CANCELLED)


def test_a_run_whose_folder_is_removed_stops_no_other(grid, pool):
    (grid / "removed/seed=0").mkdir(parents=True)
    removing = (
        "import shutil; from framework.launching import worker; work = worker.work\n"
        "def remove(run, *rest):\n"
        "    shutil.rmtree(run) if run.parent.name == 'removed' else work(run, *rest)\n"
        "worker.work = remove"
    )
    assert pool(removing, ("never/seed=0", "removed/seed=0"))["state"] == "done"


@pytest.mark.parametrize(
    "earlier", [None, {"state": "failed", "cause": "of before", "updated": 0.5}]
)
def test_a_run_that_is_told_to_stop_as_it_is_forked_stops(grid, pool, earlier):
    if earlier is not None:
        (grid / "a/seed=0" / outcomes.FILE).write_text(json.dumps(earlier))
        (grid / "a/seed=0" / outcomes.FAILURE).write_text("of before")
    beat = pool(
        "import os, signal\n"
        "os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))"
    )
    assert (beat["state"], beat["cause"]) == ("stopped", "killed by SIGTERM")


def test_an_interrupt_at_the_terminal_reaches_no_run(planned, grid):
    act(grid, WAITING | {"target_decay=0.9": {"wait": 7}})
    launcher = subprocess.Popen(
        [sys.executable, "-m", "tests.framework.launching.launcher", str(grid), "12"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY, start_new_session=True,
    )  # fmt: skip
    assert launcher.stdout.readline() == b"launched\n"
    until(lambda: list(states(grid).values()).count("running") == 2, "two running runs")
    os.killpg(launcher.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
    os.killpg(launcher.pid, signal.SIGHUP)  # and when it is closed
    assert launcher.wait(timeout=60) != 0
    launcher.stdout.close()
    (grid / "go").touch()
    until(lambda: set(states(grid).values()) == {"done"}, "the runs to go on to their end")
    assert all(each == ["0"] for each in starts(grid).values())


def test_a_launch_without_waiting_lets_go_of_its_pipes(grid):
    act(grid, WAITING | {"target_decay=0.9": {"wait": 7}})
    command = [sys.executable, "-m", "tests.framework.launching.launcher", str(grid), "12"]
    done = subprocess.run([*command, "--leave"], capture_output=True, cwd=REPOSITORY, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"launched\n")
    assert set(states(grid).values()) <= {"running", "queued"}
    (grid / "go").touch()
    until(lambda: set(states(grid).values()) == {"done"}, "the runs to go on to their end")


def test_inline_runs_here_one_after_another(planned, grid, undisturbed):
    chosen = options(executor="inline")
    launched = launch(planned, grid, chosen)
    presenting.run_inline(launched, chosen)
    assert results(grid) == undisturbed
    assert {json.loads(p.read_text())["pid"] for p in grid.glob("*/*/heartbeat.json")} == {
        os.getpid()
    }


def test_another_number_of_steps_makes_other_runs(grid):
    shorter, longer = toy_plan("grid.seeds = 1"), toy_plan("grid.seeds = 1", "train.steps = 20")
    run_all(shorter, grid)
    before = results(grid)
    assert len(run_all(longer, grid).started) == 2
    assert set(starts(grid)) == {cell.directory for cell in (*shorter.cells, *longer.cells)}
    assert all(each == ["0"] for each in starts(grid).values())
    assert results(grid).items() > before.items()


def test_claims_end_with_their_process(tmp_path):
    lock = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from framework.runs import claims\n"
        "with claims.hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert holder.stdout.readline() == b"held\n"
    assert claims.holder(lock)[0] == holder.pid
    with claims.hold(lock, patience=0.05) as mine:
        assert not mine
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not claims.is_held(lock)
    with claims.hold(lock) as mine:
        assert mine
