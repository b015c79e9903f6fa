"""Folders: another grid's, unwritable or full ones are refused, and nothing stays behind."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from framework.configuration import Configuration
from framework.errors import UserError
from framework.grid.manifest import Manifest
from framework.grid.plan import plan
from framework.launching import folders, presenting
from framework.launching.decisions import decide
from framework.launching.launch import launch
from framework.launching.waiting import wait
from framework.runs import claims, outcomes

from .conftest import REPOSITORY, options, run_all, toy_plan, until_jobs_end


def refused(planned, grid, words, **more):
    with pytest.raises(UserError, match=words) as caught:
        launch(planned, grid, options(**more))
    assert "\n" not in str(caught.value)


def test_a_folder_of_another_grid(planned, tmp_path):
    plan_of_other = toy_plan("grid.name = 'other'")
    plan_of_other.manifest("").write(tmp_path)
    before = (tmp_path / "grid.json").read_bytes()
    refused(planned, tmp_path, "belongs to the grid 'other', and this one is 'toy'")
    assert [path.name for path in tmp_path.iterdir()] == ["grid.json"]
    assert (tmp_path / "grid.json").read_bytes() == before


def test_a_folder_of_something_else_and_a_file(planned, tmp_path):
    (tmp_path / "thesis.tex").touch()
    refused(planned, tmp_path, r"holds 'thesis\.tex' and no grid\.json")
    refused(planned, tmp_path / "thesis.tex", "is a file")
    refused(
        planned,
        tmp_path / "thesis.tex" / "below",
        "thesis.tex: File exists: choose another --output",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_where_nobody_may_write(planned):
    refused(planned, Path("/proc/grids/toy"), "choose another --output")


def test_a_full_disk_found_beforehand(planned, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "SPARE_BYTES", 2**60)
    refused(planned, tmp_path / "runs" / "toy", "MiB are free and a launch needs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("allowed", [0, 1, 4, 7])
def test_a_disk_that_fills_up_meanwhile(planned, tmp_path, monkeypatch, allowed):
    written = []
    real = os.fsync

    def fsync(descriptor):
        written.append(descriptor)
        if len(written) > allowed:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    refused(planned, tmp_path / "runs" / "toy", "No space left on device: make room")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_an_older_grid_as_it_was(planned, grid, monkeypatch):
    until_jobs_end(run_all(toy_plan("grid.seeds = 1"), grid))
    before = {p: p.read_bytes() for p in grid.rglob("*") if p.is_file()}
    real, written = os.fsync, []

    def fsync(descriptor):
        written.append(descriptor)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    refused(planned, grid, "No space left on device")
    assert {p: p.read_bytes() for p in grid.rglob("*") if p.is_file()} == before


def test_a_refusal_of_sbatch_in_its_own_words(planned, tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    words = "sbatch: error: invalid partition specified: nowhere"
    for name, script in {
        "sbatch": f"echo '{words}' >&2; exit 1",
        "srun": "",
        "scontrol": "",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    refused(planned, tmp_path / "toy", words, executor="slurm")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_slurm_asked_for_where_there_is_none(planned, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    refused(planned, tmp_path / "toy", "sbatch is not on the PATH", executor="slurm")


def test_finished_runs_of_changed_components_are_said_so_and_run_again_if_asked(planned, grid):
    run_all(planned, grid)
    stored = grid / planned.cells[0].directory / "sources.json"
    hashes = json.loads(stored.read_text())
    stored.write_text(json.dumps(hashes | {"losses.tvm": "0" * 64}))
    _, decisions = decide(grid, planned, None)
    assert [d.changed for d in decisions] == [("losses.tvm",), (), (), ()]
    assert not any(d.run for d in decisions)
    again = run_all(planned, grid, retry="changed")
    assert again.started == [planned.cells[0].directory]
    assert len(list(grid.glob(".former/*/*/result.json"))) == 1
    assert len(list(grid.glob("*/*/result.json"))) == 4


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_runs_that_go_on_under_changed_code_are_said_so(grid, state, capsys):
    planned = toy_plan("grid.seeds = 1")
    run_all(planned, grid)
    run = grid / planned.cells[0].directory
    before = (run / "sources.json").read_text()
    hashes = json.loads(before)
    outcomes.record(run, state, "for the test")
    (run / "sources.json").write_text(json.dumps(hashes | {"losses.tvm": "0" * 64}))
    retry = "failed" if state == "failed" else None
    again = run_all(planned, grid, retry=retry)
    presenting.say_launched(again)
    assert again.decisions[0].changed == ("losses.tvm",)
    assert "1 runs go on from where they were though losses.tvm changed since they began" in (
        capsys.readouterr().err
    )
    assert (run / "starts").read_text().split() == ["0", "10"]
    assert (run / "sources.json").read_text() != before  # it says what the first steps were made by

    outcomes.record(run, state, "for the test")
    anew = run_all(planned, grid, retry="changed")
    assert anew.started == [planned.cells[0].directory]
    assert (run / "starts").read_text().split() == ["0"]
    assert (run / "sources.json").read_text() == before


def test_runs_of_an_older_version_are_compared_by_what_it_knew(planned, grid):
    run_all(planned, grid)
    stored = grid / planned.cells[0].directory / "sources.json"
    known = json.loads(stored.read_text())
    older = {name: digest for name, digest in known.items() if name != "components.losses.velocity"}
    assert older != known
    stored.write_text(json.dumps(older))
    assert not any(decision.changed for decision in decide(grid, planned, None)[1])
    stored.write_text(json.dumps(known | {"components.losses.velocity": "0" * 64}))
    _, decisions = decide(grid, planned, None)
    assert decisions[0].changed == ("components.losses.velocity",)


def test_a_run_that_never_made_a_step_has_the_code_of_its_next_launch(planned, grid):
    run_all(planned, grid)
    run = grid / planned.cells[0].directory
    before = (run / "sources.json").read_text()
    (run / "sources.json").write_text("{}")
    beat = outcomes.read(run) | {"state": "stopped", "step": 0}
    (run / "heartbeat.json").write_text(json.dumps(beat))
    run_all(planned, grid)
    assert (run / "sources.json").read_text() == before


PLUGIN = """
from framework import register
from helper_of_launch import SCALE

@register.schedule("toy_of_launch")
class Toy:
    def __call__(self, step: int, steps: int) -> float:
        return {}
"""


def test_plugins_travel_with_the_run(grid, tmp_path, monkeypatch):
    source = tmp_path / "files" / "launch_plugin.py"
    source.parent.mkdir()
    source.write_text(PLUGIN.format(1.0))
    helper = source.with_name("helper_of_launch.py")
    helper.write_text("SCALE = 1.0")
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = source.with_name("grid.gin")
    file.write_text(
        f"import launch_plugin\ninclude '{REPOSITORY}/gin/digits.gin'\n"
        "train.schedule = @toy_of_launch()\ntrain.device = 'cpu'\n"
    )
    planned = plan(Configuration.load([file]), "toy")
    launched = launch(planned, grid, options(runner="tests.framework.launching.loading:run"))
    source.write_text(PLUGIN.format(2.0))
    helper.write_text("raise RuntimeError('edited')")
    wait(grid, launched.manifest)
    run = grid / planned.cells[0].directory
    assert (run / "loaded.py").read_text() == PLUGIN.format(1.0)
    assert (run / "identity").read_text() == planned.cells[0].identity


def test_removed_arms_stay(planned, grid):
    run_all(planned, grid)
    run_all(toy_plan("grid.axes = {'losses.tvm.target_decay': [0.99]}"), grid)
    manifest = Manifest.read(grid)
    assert {cell.arm for cell in manifest.former} == {"target_decay=0.9"}
    assert len(list(grid.glob("*/*/result.json"))) >= 4


def test_the_launch_of_a_job_that_cannot_start_is_undone(planned, tmp_path, monkeypatch):
    monkeypatch.setattr("submitit.LocalExecutor.submit", lambda self, pool: Ended(self.folder))
    refused(planned, tmp_path / "toy", "did not start")


def test_a_launch_is_undone_before_the_next_one_has_its_turn(planned, tmp_path, monkeypatch):
    grid, real, held = tmp_path / "toy", folders._restore, []

    def restore(path, before):
        held.append(claims.is_held(grid / folders.LOCK))
        real(path, before)

    monkeypatch.setattr(folders, "_restore", restore)
    monkeypatch.setattr("submitit.LocalExecutor.submit", lambda self, pool: Ended(self.folder))
    refused(planned, grid, "did not start")
    assert held and all(held)


class Ended:
    job_id = "1"

    def __init__(self, folder):
        self.paths = SimpleNamespace(stderr=folder / "log.err")

    def done(self):
        return True
