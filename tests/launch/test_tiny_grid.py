"""A real grid, tiny: its folders, its report, TensorBoard, and what goes on from its runs."""

import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image

from framework.results import read_run
from tests.launch.test_train import ONE_THREAD, ROOT, assert_equal
from tests.tensorboard_server import ask, serve

GRID = f"""
include '{ROOT / "gin/digits.gin"}'
train.steps = 20
train.batch_size = 16
models.dit.hidden_size = 12
models.dit.depth = 1
logging.every = 5
logging.checkpoint_every = 10
logging.pictures = 12
evaluation.every = 10
evaluation.samples = 50
evaluation.blocks = 2
launch.cpus = 1
grid.name = 'tiny'
grid.seeds = 2
grid.axes = {{'optimizers.adamw.lr': [1e-3, 4e-3, 1e20]}}
grid.baseline = {{'optimizers.adamw.lr': 1e-3}}
grid.metric = 'fd'
grid.metric_nfe = 1
"""


def call(program, *arguments):
    """Run launch/PROGRAM in a process of its own."""
    command = [sys.executable, str(ROOT / "launch" / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ONE_THREAD, check=False)


def here(program, *arguments):
    """Run launch/PROGRAM in this process, which need not import everything again."""
    path, out, err = str(ROOT / "launch" / program), io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, [path, *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv = argv
    return subprocess.CompletedProcess(path, end.value.code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.gin").write_text(GRID)
    output = folder / "grid"
    done = call("slurm.py", "--gin", folder / "tiny.gin", "--executor", "inline",
                "--output", output)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


def runs(grid, arm="lr=*"):
    return sorted(grid.glob(f"{arm}/seed=*"))


def first(grid):
    return runs(grid, "lr=0.004")[0]


def test_every_run_says_what_a_step_costs_and_how_long_it_took(grid):
    for run in runs(grid):
        beat = json.loads((run / "heartbeat.json").read_text())
        assert beat["flops_per_step"] > 1e6
        assert beat["seconds"] > 0


def test_pictures_lie_in_the_folder_of_the_run(grid):
    sheets = sorted((first(grid) / "samples").iterdir())
    assert [sheet.name for sheet in sheets] == ["nfe=1.png", "nfe=2.png", "nfe=4.png"]
    assert Image.open(sheets[0]).size == (10 * 33, 2 * 33)  # a column a class, 32 pixels and a gap


def test_a_run_of_a_grid_repeats_bit_for_bit_from_its_configuration(grid, tmp_path):
    run, again = first(grid), tmp_path / "again"
    result = call("train.py", "--gin", run / "config.gin", "--output", again)
    assert result.returncode == 0, result.stderr
    checkpoint = "checkpoints/step-00000020.pt"
    assert_equal(
        torch.load(run / checkpoint, weights_only=True),
        torch.load(again / checkpoint, weights_only=True),
    )
    ours, theirs = read_run(run), read_run(again)
    for tag in set(ours.scalars) - {"rate/steps_per_second"}:
        assert ours.scalars[tag][["step", "value"]].equals(
            theirs.scalars[tag][["step", "value"]]
        ), tag
    columns = ["step", "metric", "nfe", "block", "value"]
    assert ours.evaluations[columns].equals(theirs.evaluations[columns])
    for key, samples in ours.samples.items():
        assert np.array_equal(samples.images, theirs.samples[key].images)
    assert (run / "config.gin").read_text() == (again / "config.gin").read_text()


def test_tensorboard_shows_what_the_trainer_wrote(grid):
    names = sorted(f"{run.relative_to(grid)}/tensorboard" for run in runs(grid))
    one = f"{first(grid).relative_to(grid)}/tensorboard"
    with serve(grid) as address:
        assert sorted(ask(address, "runs")) == names
        tags = ask(address, "plugin/scalars/tags")[one]
        assert {"loss/total", "loss/terminal", "gradient_norm", "jvp_norm"} <= set(tags)
        points = ask(address, f"plugin/scalars/scalars?run={quote(one)}&tag=loss%2Ftotal")
        assert [step for _, step, _ in points] == [5, 10, 15, 20]
        images = ask(address, "plugin/images/tags")[one]
        assert set(images) == {"samples/nfe=1", "samples/nfe=2", "samples/nfe=4"}
        assert "config/gin" in ask(address, "plugin/text/tags")[one]
        layout = ask(address, "plugin/custom_scalars/layout")["category"]
        assert [category["title"] for category in layout] == ["training", "evaluations"]
        experiment = ask(address, "plugin/hparams/experiment", {"hparamsLimit": 10})
        found = {info["name"] for info in experiment["hparamInfos"]}
        assert found == {"arm", "seed", "optimizers.adamw.lr"}
        assert [metric["name"]["tag"] for metric in experiment["metricInfos"]] == ["ranked by/fd"]
        request = {"allowedStatuses": ["STATUS_UNKNOWN"], "colParams": [], "sliceSize": 100}
        groups = ask(address, "plugin/hparams/session_groups", request)
        assert groups["totalSize"] == len(names)
        sessions = [session for g in groups["sessionGroups"] for session in g["sessions"]]
        values = [one["value"] for session in sessions for one in session["metricValues"]]
        assert len(sessions) == 6 and len(values) == 4  # two diverged before their first score


def test_the_report_counts_what_diverged_and_ranks_it_last(grid):
    result = here("report.py", grid)
    assert result.returncode == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if re.match(r"\d  lr=", line)]
    assert len(rows) == 3
    assert rows[-1].split()[1] == "lr=1e+20"
    assert "0/2, 2 diverged" in rows[-1]
    assert "diverged: seeds 0, 1 at step 2: loss/total and gradient_norm" in result.stdout
    page = (grid / "report/report.html").read_text()
    assert "equal FLOPs" in page
    assert "Noise of a run" in page
    assert "more seed" in page or "better" in page or "worse" in page


def test_a_killed_run_counts_as_stopped(grid, tmp_path):
    copy = shutil.copytree(grid, tmp_path / "grid")
    path = first(copy) / "heartbeat.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running"}))
    out = here("report.py", copy).stdout
    assert "1/2, 1 stopped" in out
    assert "Of 6 runs: 2 diverged, 1 stopped." in out


def test_samples_are_drawn_from_any_weights(grid, tmp_path):
    def draw(name, *options):
        result = here("sample.py", first(grid), "--classes", 3, 0, "--count", 2, *options,
                      "--output", tmp_path / name)  # fmt: skip
        assert result.returncode == 0, result.stderr
        return {str(file.relative_to(tmp_path / name)) for file in (tmp_path / name).glob("*/*")}

    names = {f"nfe={n}/class={c}-0000{i}.png" for n in (1, 2) for c in (0, 3) for i in (0, 1)}
    assert draw("one", "--nfe", 1, 2) == names
    assert Image.open(tmp_path / "one/nfe=1.png").size == (2 * 33, 2 * 33)
    draw("same")
    draw("trained", "--weights", "trained", "--seed", 1, "--w", 3.0)
    sheets = [(tmp_path / name / "nfe=1.png").read_bytes() for name in ("one", "same", "trained")]
    assert sheets[0] == sheets[1] != sheets[2]


def test_a_poster_shows_what_was_recorded(grid, tmp_path):
    path, run = tmp_path / "new" / "poster.svg", first(grid)
    result = here("sample.py", run, "--nfe", 1, 2, "--count", 2, "--poster", path)
    assert (result.returncode, result.stdout) == (0, f"{path}  (step 20)\n"), result.stderr
    drawn = path.read_text()
    assert drawn.count("<image ") == 3
    assert all(f"<!-- {t} -->" in drawn for t in ("1 evaluation", "2 evaluations"))
    rows = read_run(run).evaluations.query("step == 20 and nfe == 1 and weights == 'evaluation'")
    means = rows.groupby("metric")["value"].mean()
    agreement, fd = (means.filter(like=name).item() for name in ("agreement", "fd"))
    shown = f"class agreement {agreement:.3g}, FD {fd:.3g}"
    assert f"<!-- {shown} -->" in drawn
    blocked = here("sample.py", run, "--count", 2, "--poster", path / "below.png")
    assert blocked.returncode == 2
    assert "choose another --poster" in blocked.stderr


def test_scores_are_measured_again_and_appended(grid, tmp_path):
    copy = shutil.copytree(grid, tmp_path / "grid")
    before = read_run(first(copy)).evaluations
    result = here("evaluate.py", first(copy), "--samples", 80, "--blocks", 3, "--nfe", 1)
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"^ (?:agreement|fd)@digits", result.stdout, re.MULTILINE)) == 2
    assert read_run(first(copy)).evaluations.equals(before)
    for run in (*runs(copy, "lr=0.004"), *runs(copy, "lr=0.001")):
        result = here("evaluate.py", run, "--samples", 80, "--nfe", 1, "--append")
        assert result.returncode == 0, result.stderr
    after = read_run(first(copy)).evaluations
    assert len(after) == len(before) + 4
    assert set(after["samples"]) == {50, 80}
    assert "used, where all runs have them: 50 and 80" in here("report.py", copy).stdout


@pytest.mark.parametrize(
    ("program", "options", "words"),
    [
        ("sample.py", ["--classes", "10"], "class 10 is out of range: this run has 0 to 9"),
        ("sample.py", ["--weights", "tained"], "choose one of trained, target, evaluation"),
        ("sample.py", ["--nfe", "0"], "'0' is not a positive number"),
        ("evaluate.py", ["--samples", "none"], "'none' is not a positive number"),
        ("evaluate.py", ["--weights", "ema"], "choose one of trained, target, evaluation"),
    ],
)
def test_bad_options(grid, program, options, words):
    result = here(program, first(grid), *options)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("program", ["sample.py", "evaluate.py"])
def test_what_has_no_weights_is_said_so(grid, program):
    result = here(program, grid)
    assert (result.returncode, result.stdout) == (2, "")
    assert "not the folder of a run" in result.stderr
    result = here(program, runs(grid, "lr=1e+20")[0])
    assert (result.returncode, result.stdout) == (2, "")
    assert "no checkpoint to take weights from" in result.stderr
