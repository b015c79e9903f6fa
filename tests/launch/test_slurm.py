"""`launch/slurm.py`: what it prints, what it refuses, and that a refusal writes nothing."""

import os
import re
import runpy
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
QUICKSTART = REPOSITORY / "gin/ablations/quickstart.gin"


@pytest.fixture
def program(tmp_path, monkeypatch, capsys):
    """Run launch/NAME in an empty folder; return exit code, output and errors."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(name, *arguments):
        path = REPOSITORY / "launch" / name
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(path), run_name="__main__")
        told = capsys.readouterr()
        return end.value.code, told.out, told.err

    return run


def test_a_dry_run_shows_the_table_and_writes_nothing(program):
    code, out, err = program("slurm.py", "--gin", QUICKSTART, "--dry-run")
    assert code == 0
    assert re.fullmatch(r"probed 3 arms in \d+ s: .*\n", err)
    assert out.count("  times  ") == 2
    for words in ["time_sampler=gap_star *", "time_sampler=clamp", "0, 1, 2"]:
        assert words in out
    assert "9 of 9 cells would run in runs/quickstart; nothing was submitted or written" in out
    assert list(Path.cwd().iterdir()) == []


def test_a_login_node_without_a_gpu_checks_runs_for_nodes_that_have_one(
    program, tmp_path, monkeypatch
):
    (tmp_path / "sbatch").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    digits = REPOSITORY / "gin/digits.gin"
    wanted = ["--gin", digits, "--set", "train.device = 'cuda'", "--gpus", "1", "--dry-run"]
    code, out, err = program("slurm.py", *wanted, "--gpu-memory", "40M")
    assert code == 0
    assert re.search(r"about \d\d(\.\d)? MiB of GPU memory \(estimated, uncompiled\)", out)
    assert re.search(r"'baseline' needs about .* and its GPU has 40 MiB: raise train\.acc", err)
    code, _, err = program("slurm.py", *wanted, "--gpu-memory", "3M")
    assert code == 2
    assert "weights, optimizer state and averages alone take 3.36 MiB" in err
    code, _, err = program("slurm.py", *wanted, "--executor", "local")
    assert (code, "PyTorch sees no GPU" in err) == (2, True)


def test_without_a_probe_it_says_so(program):
    code, out, err = program("slurm.py", "--gin", QUICKSTART, "--dry-run", "--no-probe")
    assert code == 0
    assert err == "--no-probe: nobody looked whether the arms differ in what they do\n"
    assert out.count("not probed") == 3


def test_a_dry_run_shows_what_is_tuned(program):
    tuned = "grid.tune = {'optimizers.adamw.lr': [1e-3, 2e-3]}"
    wanted = ["--gin", QUICKSTART, "--set", tuned, "--dry-run", "--no-probe"]
    code, out, _ = program("slurm.py", *wanted)
    assert code == 0
    assert [out.count(f"lr={value}: 0, 1, 2") for value in ("0.001", "0.002")] == [3, 3]


GRID = "include '{}'\ngrid.name = 'bad'\n".format(REPOSITORY / "gin/digits.gin")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("grid.axes = {'losses.tvm.target_decy': [0.0]}", "did you mean target_decay"),
        ("grid.axes = {'losses.tvm.target_decay': [0.0, 0.0]}", "has 0.0 twice"),
        ("train.loss = @losses.tvmm()", "losses.tvm"),
        ("train.batch_size = 0", "train.batch_size = 0"),
        ("losses.tvm.target_decya = 0.5", "did you mean target_decay"),
        ("time_samplers.gap.gap_std = -1.0\nlosses.tvm.time_sampler = @gap()", "gap_std = -1.0"),
        ("time_samplers.clamp.t_mean = 0.0", "does not use time_samplers.clamp"),
        ("import no_such_plugin", "no_such_plugin"),
        ("grid.axes = ", "bad.gin:3"),
        ("models.dit.hidden_size = 50", "models.dit"),
        ("grid.arms = {'wide': {'models.dit.hidden_size': 50}}", "arm 'wide': "),
        ("grid.arms = {'A': {'train.batch_size': 8}, 'a': {'train.batch_size': 9}}", "two arms"),
        ("launch.nodes = 0", "launch.nodes = 0"),
        (
            "grid.arms = {'heun': {'evaluation.sampler': @samplers.heun()}, "
            "'euler': {'evaluation.sampler': @samplers.euler()}}\nevaluation.nfe = (1,)",
            "arm 'euler' draws, trains and samples exactly as arm 'heun': "
            "evaluation.sampler = @samplers.euler() (not @samplers.heun())",
        ),
    ],
)
def test_bad_input_takes_two_lines_at_most_and_writes_nothing(program, tmp_path, lines, words):
    file = tmp_path / "bad.gin"
    file.write_text(GRID + lines + "\n")
    code, out, err = program("slurm.py", "--gin", file, "--executor", "local")
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) <= 2
    assert err.startswith("slurm.py: ")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gin", "missing.gin"], "missing.gin"),
        (["--gin", QUICKSTART, "--plugin", "missing.py"], "missing.py"),
        (["--gin", QUICKSTART, "--parallel", "0"], "'0' is not a positive number"),
        (["--gin", QUICKSTART, "--retry", "some"], "invalid choice: 'some'"),
        (["--gin", QUICKSTART, "--time", "soon"], "'soon' is no time"),
        (["--gin", QUICKSTART, "--mem", "much"], "'much' is no amount of memory"),
        ([], "--gin"),
    ],
)
def test_bad_options(program, arguments, words):
    code, out, err = program("slurm.py", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) <= 2
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_of_another_grid_is_refused(program, tmp_path):
    (tmp_path / "here" / "notes.txt").touch()
    code, _, err = program("slurm.py", "--gin", QUICKSTART, "--output", ".", "--dry-run")
    assert code == 2
    assert "holds 'notes.txt' and no grid.json" in err


@pytest.mark.parametrize("name", ["status.py", "cancel.py"])
def test_what_is_no_grid_is_said_so(program, name):
    code, _, err = program(name, "runs/nothing")
    assert code == 2
    assert err == f"{name}: runs/nothing: no grid.json; give the folder of a grid, as runs/NAME\n"
    run = Path("runs/grid/arm/seed=0")
    run.mkdir(parents=True)
    (run / "config.gin").touch()
    code, _, err = program(name, str(run))
    assert code == 2
    assert err == f"{name}: {run}: the folder of a run: see launch/explain.py {run}\n"


def test_status_and_cancel_of_a_grid_that_waits(program, tmp_path):
    from framework.configuration import Configuration
    from framework.grid.plan import plan

    planned = plan(Configuration.load([QUICKSTART]), "x")
    grid = tmp_path / "here" / "grid"
    grid.mkdir()
    planned.manifest("").write(grid)
    code, out, _ = program("status.py", grid)
    assert code == 0
    assert "0 of 9 done, 9 not started" in out
    code, out, _ = program("status.py", grid, "--arm", "time_sampler=gap", "--state", "done")
    assert (code, "0 of 0 done" in out) == (0, True)
    code, _, err = program("status.py", grid, "--arm", "time_sampler=gop")
    assert (code, "did you mean time_sampler=gap" in err) == (2, True)
    code, out, _ = program("cancel.py", grid)
    assert (code, out) == (0, f"{grid}: 0 running runs told to stop, 0 waiting ones cancelled\n")
