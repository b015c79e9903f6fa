import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from framework import UserError, command
from framework.grid.manifest import CellRecord
from framework.report import findings, write
from framework.report.loading import load_grid
from framework.runs import claims
from launch import report

from .stored import manifest, write_grid

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return write_grid(tmp_path_factory.mktemp("runs") / "stored")


def test_a_grid_is_read_from_its_folder(grid):
    loaded = load_grid(grid)
    assert (loaded.name, loaded.metric, loaded.baseline) == ("stored", "fd", "gap")
    assert loaded.runs["state"].value_counts().to_dict() == {"done": 8, "diverged": 1}
    assert loaded.runs.loc[loaded.runs["state"] == "diverged", "diverged_step"].tolist() == [30]
    assert loaded.frame["time"].max() < 1000
    analysis = findings(grid)
    assert list(analysis.ranking.index) == ["gap_star", "gap", "clamp"]
    assert [other.metric for other in analysis.others] == ["agreement"]
    assert analysis.ranking.loc["gap", "seconds"] == pytest.approx(8.0)


def test_report_with_samples_and_copies(grid):
    paths = write(grid)
    assert paths.html == grid / "report" / "report.html"
    assert {p.stem for p in paths.pictures} >= {"samples", "effects", "nfe", "curves", "cost"}
    with h5py.File(paths.archive) as file:
        images = file["files/gap/seed=0-gap00000/samples/40/nfe=1"]
        assert images.shape == (10, 8, 8, 1)
        config = file["files/gap/seed=0-gap00000/config"]
        assert config.attrs["gin_text"] == "train.steps = 40\n"
    assert "0123abcd" in paths.html.read_text()
    assert "../gap/seed=0-gap00000/config.gin" in paths.html.read_text()
    assert findings(grid).ranking["n"].tolist() == [3, 3, 2]


def test_what_an_arm_leaves_to_the_base_is_read_from_its_run(tmp_path):
    grid = write_grid(tmp_path / "stored")
    values = json.loads((grid / "grid.json").read_text())
    values["arms"][1]["settings"] = {"train.steps": "80"}
    (grid / "grid.json").write_text(json.dumps(values))
    text = write(grid).markdown.read_text()
    table = text.partition("## What the arms differ in")[2].partition("## Runs")[0]
    rows = {
        line.split("|")[1].strip(): line.split("|")[3].strip() for line in table.splitlines()[4:7]
    }
    assert rows == {"gap": "40", "gap_star": "80", "clamp": "40"}
    page = (grid / "report/report.html").read_text()
    assert re.search(r"<b>gap_star</b> <span class=.soft.>[^/]*train.steps = 80", page)


def test_a_damaged_run_is_named_and_left_out(tmp_path):
    grid = write_grid(tmp_path / "stored")
    run = grid / "gap_star" / "seed=2-gap00002"
    for path in (*run.glob("results.h5"), *run.glob("results.journal")):
        path.write_bytes(b"no results" * 100)
    analysis = findings(grid)
    assert any("seed=2-gap00002" in note for note in analysis.notes)
    assert analysis.ranking.loc["gap_star", "n"] == 2
    write(grid)


def test_a_damaged_heartbeat_does_not_stop_a_report(tmp_path):
    grid = write_grid(tmp_path / "stored")
    (grid / "gap" / "seed=0-gap00000" / "heartbeat.json").write_text('{"state": "do')
    assert findings(grid).ranking.loc["gap", "stopped"] == 1


def test_a_folder_of_runs_without_a_manifest(tmp_path):
    grid = write_grid(tmp_path / "stored")
    (grid / "grid.json").unlink()
    analysis = findings(grid, metric="fd")
    assert set(analysis.ranking.index) == {"gap_star", "gap", "clamp"}
    assert analysis.grid.arms[0].settings["losses.tvm.time_sampler"].startswith("@time_samplers")


def test_runs_of_the_same_arm_and_seed_without_a_manifest_are_said_to_be_left_out(tmp_path):
    write_grid(tmp_path / "one", name="one", seeds=1)
    assert not any("Left out" in note for note in findings(tmp_path, metric="fd").notes)
    write_grid(tmp_path / "two", name="two", seeds=1)
    notes = findings(tmp_path, metric="fd").notes
    told = "Left out, as another run here has the same arm and seed: one/clamp/seed=0-cla00000"
    assert f"{told} and 2 more." in notes


def test_runs_of_an_older_configuration_do_not_mix_in(tmp_path):
    grid = write_grid(tmp_path / "stored")
    values = json.loads((grid / "grid.json").read_text())
    values["cells"] = [cell for cell in values["cells"] if cell["seed"] < 2]
    (grid / "grid.json").write_text(json.dumps(values))
    assert findings(grid).ranking["runs"].tolist() == [2, 2, 2]


def run(monkeypatch, *arguments):
    """Run the program in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        command.main(report.program)
    return ended.value.code


def test_the_program_prints_the_table_and_where_files_lie(grid, tmp_path, capsys, monkeypatch):
    other = write_grid(tmp_path / "other", name="other", shift=1.0)
    output = tmp_path / "out"
    assert run(monkeypatch, grid, "--output", output, "--compare", other) == 0
    captured = capsys.readouterr()
    assert not captured.err
    lines = captured.out.splitlines()
    assert lines[2].startswith("1  gap_star")
    assert f"     html  {output}/report.html" in lines
    assert any("Compared with other" in line for line in lines)
    assert (output / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["NOWHERE"], "no such folder"),
        (["GRID", "--metric", "fid"], "choose one of: agreement, fd"),
        (["GRID", "--nfe", "3"], "choose one of: 1, 2, 4"),
        (["GRID", "--compare", "NOWHERE"], "no such folder"),
        (["GRID", "--output", "FILE/report"], "choose another folder with --output"),
        (["GRID", "--met", "fd"], "--help lists the options"),
        (["EMPTY"], "neither grid.json nor runs"),
    ],
)
def test_errors_are_one_line_and_exit_2(arguments, words, grid, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    places = {"NOWHERE": tmp_path / "none", "GRID": grid, "FILE": tmp_path / "file",
              "EMPTY": tmp_path / "empty"}  # fmt: skip
    given = []
    for argument in arguments:
        for name, place in places.items():
            argument = argument.replace(name, str(place))
        given.append(argument)
    assert run(monkeypatch, *given) == 2
    captured = capsys.readouterr()
    assert words in captured.err and len(captured.err.splitlines()) <= 2


def test_a_broken_manifest_is_named(tmp_path):
    (tmp_path / "grid.json").write_text("{")
    with pytest.raises(UserError, match=r"grid\.json: cannot be read"):
        load_grid(tmp_path)
    (tmp_path / "grid.json").write_text("[]")
    with pytest.raises(UserError, match="not the manifest"):
        load_grid(tmp_path)
    (tmp_path / "grid.json").write_text('{"schema": 2, "cells": []}')
    with pytest.raises(UserError, match="schema 2 is not 1: use the tvmlab that wrote it"):
        load_grid(tmp_path)


@pytest.mark.parametrize("said", ["queued", "running", "stopped"])
def test_a_run_whose_folder_is_held_is_running_and_else_what_it_said(tmp_path, said):
    grid = write_grid(tmp_path / "stored", seeds=1)
    run = grid / "gap" / "seed=0-gap00000"
    beat = {"state": said, "cause": "", "step": 7, "steps": 40, "host": socket.gethostname()}
    (run / "heartbeat.json").write_text(json.dumps(beat))
    states = []
    with claims.claim(run) as mine:
        assert mine
        states.append(load_grid(grid).runs.iloc[0])
    states.append(load_grid(grid).runs.iloc[0])
    assert [row["state"] for row in states] == [
        "running",
        "queued" if said == "queued" else "stopped",
    ]
    assert states[1]["cause"] == ("its process is gone, at step 7" if said == "running" else "")


def test_a_grid_before_its_first_result(tmp_path):
    cell = CellRecord("a", 0, "00", "a/seed=0-00")
    manifest(arms=[{"name": "a", "settings": {}}], cells=[cell]).write(tmp_path)
    with pytest.raises(UserError, match="no run has results yet"):
        findings(tmp_path)


def test_the_program_runs_from_anywhere(grid, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "launch" / "report.py", grid, "--output", tmp_path / "r"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "gap_star" in done.stdout and "\x1b" not in done.stdout and not done.stderr


def test_samples_of_arms_share_their_noise(grid):
    reader = load_grid(grid).reader
    _, labels = reader.samples(grid / "gap" / "seed=0-gap00000")[40, 1]
    np.testing.assert_array_equal(labels, np.arange(10))
