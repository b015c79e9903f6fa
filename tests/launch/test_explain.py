"""A run that is made to diverge, and what `launch/explain.py` says of runs that ended so or so."""

import json
import sys

import numpy as np
import pytest

from framework.command import main
from framework.results import RunConfig, RunWriter, read_run
from launch.explain import program
from tests.launch.test_train import SMALL, train

HUGE_RATE = "optimizers.adamw.lr = 1e20"


def explain(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["explain.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main(program)
    told = capsys.readouterr()
    return end.value.code, told.out, told.err


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    output = tmp_path_factory.mktemp("diverged") / "run"
    result = train(output, sets=[*SMALL, HUGE_RATE])
    assert (result.returncode, result.stdout) == (1, f"diverged: {output}\n")
    return output


def test_a_divergence_is_recorded_with_step_cause_and_origin(diverged):
    beat = json.loads((diverged / "heartbeat.json").read_text())
    assert (beat["state"], beat["diverged_step"]) == ("diverged", 2)
    assert beat["cause"] == "loss/total and gradient_norm not finite at step 2"
    assert beat["origin"] == "the loss, from outputs of the network that are finite"
    flight = read_run(diverged).flight_recorder
    assert flight["step"].tolist() == [1, 2]
    assert np.isfinite(flight["loss/total"]).tolist() == [True, False]
    assert np.isfinite(flight["gradient_norm"]).tolist() == [True, False]
    assert flight["first_not_finite"][0] == ""
    assert "the loss, from outputs of the network that are finite" in flight["first_not_finite"][1]
    for time in "ts":
        least, mean, most = (flight[f"times/{time}_{kind}"] for kind in ("min", "mean", "max"))
        assert (least >= 0).all() and (least < mean).all() and (mean < most).all()
        assert (most <= 1).all()
    assert set(flight) >= {"jvp_norm", "learning_rate", "loss/terminal", "loss/flow_matching"}


def test_what_was_logged_shows_the_divergence_and_no_checkpoint_holds_it(diverged):
    logged = read_run(diverged).scalars["loss/total"]
    assert logged["step"].tolist() == [5]
    assert not np.isfinite(logged["value"]).any()
    assert not list(diverged.glob("checkpoints/*.pt"))


def test_explain_tells_a_divergence_in_a_screenful(diverged, monkeypatch, capsys):
    code, out, err = explain(monkeypatch, capsys, diverged)
    assert (code, err) == (0, "")
    assert f"{diverged}: diverged at step 2 of 40" in out
    for words in ["loss/total and gradient_norm not finite at step 2", "first ", "jvp_norm",
                  "optimizers.adamw.lr = 1e+19", "train.clip_norm = 1.0", "log.txt"]:  # fmt: skip
        assert words in out
    assert len(out.splitlines()) <= 40


OVERFLOW = [
    *SMALL,
    "train.steps = 300",
    "train.precision = 'fp16'",
    "optimizers.adamw.lr = 2.0",
    "train.schedule = @schedules.warmup()",
    "schedules.warmup.warmup_steps = 300",
    "evaluation.every = 300",
    "logging.checkpoint_every = 50",
]


def test_an_overflow_in_half_precision_is_told_with_its_last_64_steps(
    tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    assert train(run, sets=OVERFLOW).returncode == 1
    beat = json.loads((run / "heartbeat.json").read_text())
    last = beat["diverged_step"]
    steps = list(range(max(1, last - 63), last + 1))  # with torch 2.13 it breaks at step 139
    flight = read_run(run).flight_recorder
    assert flight["step"].tolist() == steps
    for name in ("loss/total", "loss/terminal", "loss/flow_matching", "jvp_norm"):
        assert np.isfinite(flight[name]).tolist() == [step < last for step in steps]
    assert "of the trained weights: its " in beat["origin"]
    _, out, _ = explain(monkeypatch, capsys, run, "--steps", 64)
    rows = [line.split()[0] for line in out.splitlines() if line.strip()[:1].isdecimal()]
    assert [int(step) for step in rows] == steps
    assert "first     " + beat["origin"] in out
    assert "train.precision = 'fp32'" in out


def test_updates_that_half_precision_skipped_are_counted(tmp_path, monkeypatch, capsys):
    steps = [{"step": k, "loss/total": 1.0, "gradient_norm": norm}
             for k, norm in enumerate([np.inf, 1.0, np.nan, 1.0])]  # fmt: skip
    beat = {"state": "diverged", "diverged_step": 4, "cause": "loss/total not finite"}
    settings = {"train.precision": "fp16"}
    _, out, _ = explain(monkeypatch, capsys, recorded(tmp_path / "a", beat, steps, **settings))
    assert "skipped   2 of 4 recorded updates" in out
    _, out, _ = explain(monkeypatch, capsys, recorded(tmp_path / "b", beat, steps))
    assert "skipped" not in out


def recorded(folder, beat, steps=(), **settings):
    """A run folder as the trainer leaves it."""
    config = RunConfig("train.steps = 9\n", {"train.steps": 9, "optimizers.adamw.lr": 0.1,
                       "train.clip_norm": None, **settings}, "0", "g", "a", 0)  # fmt: skip
    with RunWriter(folder, config=config) as writer:
        for step in steps:
            writer.flight_record(step)
    (folder / "config.gin").write_text(config.gin_text)
    (folder / "heartbeat.json").write_text(json.dumps({"step": 7, "steps": 9, **beat}))
    return folder


def test_what_grew_decides_what_to_try(tmp_path, monkeypatch, capsys):
    norms = [1.0] * 30 + [5.0, 40.0, np.inf]
    steps = [
        {"step": 70 + k, "loss/total": 2.0 if np.isfinite(norm) else np.nan, "loss/jump": np.nan,
         "jvp_norm": norm, "gradient_norm": 1.0 if np.isfinite(norm) else np.nan}
        for k, norm in enumerate(norms)
    ]  # fmt: skip
    beat = {"state": "diverged", "diverged_step": 102, "cause": "loss/total not finite"}
    _, out, _ = explain(monkeypatch, capsys, recorded(tmp_path / "run", beat, steps))
    assert "jvp_norm 40-fold" in out
    assert "then      jvp_norm > loss/total > gradient_norm" in out  # no sample has the part `jump`
    tried = out.partition("to try")[2].splitlines()
    assert "the tangent grew first" in tried[1]
    assert "the last 12 of 33 recorded steps" in out


def test_explain_of_runs_that_failed_were_killed_stopped_or_done(tmp_path, monkeypatch, capsys):
    failed = recorded(tmp_path / "failed", {"state": "failed", "cause": "ValueError: no"})
    (failed / "log.txt").write_text("a line\nValueError: no\n")
    _, out, _ = explain(monkeypatch, capsys, failed)
    assert "failed at step 7 of 9" in out
    assert "  ValueError: no" in out
    assert f"python launch/train.py --gin {failed}/config.gin --output {failed}" in out
    beat = {"state": "running", "host": "elsewhere", "updated": 1.0}
    _, out, _ = explain(monkeypatch, capsys, recorded(tmp_path / "killed", beat))
    assert "stopped at step 7 of 9" in out
    assert "its process is gone" in out
    beat = {"state": "stopped", "cause": "asked to stop by SIGTERM"}
    _, out, _ = explain(monkeypatch, capsys, recorded(tmp_path / "stopped", beat))
    assert "asked to stop by SIGTERM" in out
    _, out, _ = explain(monkeypatch, capsys, recorded(tmp_path / "done", {"state": "done"}))
    assert "done at step 7 of 9" in out
    assert "to try" not in out


def test_what_is_no_run_is_said_so(tmp_path, monkeypatch, capsys):
    code, out, err = explain(monkeypatch, capsys, tmp_path / "nothing")
    assert (code, out) == (2, "")
    assert err.startswith("explain.py: ") and "not the folder of a run" in err
    (tmp_path / "grid.json").write_text("{}")
    _, _, err = explain(monkeypatch, capsys, tmp_path)
    assert "give one of its runs" in err
