"""One run from the command line: bad input, and resuming bit for bit after kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from framework.command import main
from framework.distribution import placing
from framework.errors import UserError
from framework.launching import ranks
from framework.results import read_run
from framework.runs import claims
from launch.train import program

ROOT = Path(__file__).parents[2]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
SMALL = [
    "train.steps = 40",
    "models.dit.hidden_size = 12",
    "models.dit.depth = 1",
    "train.batch_size = 16",
    "logging.every = 5",
    "logging.checkpoint_every = 10",
    "logging.pictures = 2",
    "evaluation.metrics = ()",
    "evaluation.every = 20",
]


def command(output, sets=SMALL):
    bindings = [part for binding in sets for part in ("--set", binding)]
    program = [sys.executable, str(ROOT / "launch/train.py"), "--gin", str(ROOT / "gin/digits.gin")]
    return [*program, *bindings, "--output", str(output)]


def train(output, sets=SMALL):
    return subprocess.run(
        command(output, sets=sets), capture_output=True, text=True, env=ONE_THREAD, check=False
    )


def kill_at_checkpoint(output, step):
    """Start training and kill -9 it once the checkpoint of a step is there."""
    process = subprocess.Popen(command(output), stderr=subprocess.DEVNULL, env=ONE_THREAD)
    wanted = output / f"checkpoints/step-{step:08d}.pt"
    deadline = time.monotonic() + 120
    while not wanted.exists():
        assert process.poll() is None, "ended before the checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def assert_equal(left, right, path=""):
    assert type(left) is type(right), path
    if isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            assert_equal(left[key], right[key], f"{path}/{key}")
    elif isinstance(left, list):
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_equal(a, b, f"{path}/{index}")
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left.nan_to_num(), right.nan_to_num()), path
    else:
        assert left == right, path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    result = train(output)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"done: {output}\n"
    return output


def last_state(output):
    return torch.load(output / "checkpoints/step-00000040.pt", weights_only=True)


def test_a_killed_run_resumes_bit_for_bit(undisturbed, tmp_path):
    output = tmp_path / "run"
    kill_at_checkpoint(output, 20)
    assert not (output / "checkpoints/step-00000040.pt").exists()
    result = train(output)
    assert result.returncode == 0, result.stderr
    assert "going on from step" in (output / "log.txt").read_text()
    assert_equal(last_state(output), last_state(undisturbed))
    ours, theirs = read_run(output), read_run(undisturbed)
    assert set(ours.scalars) == set(theirs.scalars)
    for tag in set(ours.scalars) - {"rate/steps_per_second"}:
        columns = ["step", "value"]
        assert ours.scalars[tag][columns].equals(theirs.scalars[tag][columns]), tag
    assert ours.samples.keys() == theirs.samples.keys()
    for key in ours.samples:
        assert (ours.samples[key].images == theirs.samples[key].images).all()


def test_a_finished_run_goes_on_when_its_steps_are_raised(undisturbed, tmp_path):
    output = tmp_path / "run"
    assert train(output, sets=[*SMALL, "train.steps = 20"]).returncode == 0
    result = train(output)
    assert result.returncode == 0, result.stderr
    assert_equal(last_state(output), last_state(undisturbed))


def test_a_run_that_goes_on_says_what_code_changed(tmp_path):
    plugin = tmp_path / "own_schedule.py"
    plugin.write_text(
        "from framework import register\n\n\n@register.schedule('own')\nclass Own:\n"
        "    def __call__(self, step, steps):\n        return 1.0\n"
    )
    own = [*SMALL, "train.schedule = @schedules.own()", "evaluation.every = 40"]

    def said(steps):
        begin = command(tmp_path / "run", sets=[*own, f"train.steps = {steps}"])
        call = [*begin, "--plugin", str(plugin)]
        found = subprocess.run(call, capture_output=True, text=True, env=ONE_THREAD, check=True)
        return found.stderr

    assert "changed" not in said(4) + said(6)
    plugin.write_text(plugin.read_text().replace("1.0", "0.5"))
    assert "goes on though schedules.own changed since it began: with another --output" in said(8)


def test_config_gin_trains_the_same_run_again(undisturbed, tmp_path):
    output = tmp_path / "again"
    gin = [sys.executable, str(ROOT / "launch/train.py"), "--gin", str(undisturbed / "config.gin")]
    subprocess.run([*gin, "--output", str(output)], check=True, env=ONE_THREAD)
    assert_equal(last_state(output), last_state(undisturbed))


BAD = {
    "train.batch_size = 0": "train.batch_size",
    "train.lossy = 1": "loss",
    "losses.tvm.target_dcay = 0.5": "target_decay",
    "train.loss = @losses.tmv()": "tvm",
    "time_samplers.gap_star.gap_std = -1.0": "gap_std",
    "time_samplers.clamp.t_mean = 0.5": "time_samplers.clamp",
    "models.dit.num_heads = 5": "num_heads",
    "train.device = 'cuda'": "GPU",
    "train.steps = ": "train.steps",
}


def refused(monkeypatch, capsys, output, *bindings):
    """Run the program in this process; return what it says on standard error."""
    monkeypatch.setattr(sys, "argv", command(output, sets=[*SMALL, *bindings])[1:])
    with pytest.raises(SystemExit) as end:
        main(program)
    captured = capsys.readouterr()
    assert end.value.code == 2, captured.err
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) <= 2, captured.err
    return captured.err


@pytest.mark.parametrize("binding", BAD)
def test_bad_input_is_answered_and_nothing_is_written(binding, tmp_path, monkeypatch, capsys):
    if torch.cuda.is_available() and "cuda" in binding:
        pytest.skip("this machine has a GPU")
    assert BAD[binding] in refused(monkeypatch, capsys, tmp_path / "run", binding)
    assert not (tmp_path / "run").exists()


SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "SLURM_TASKS_PER_NODE")


@pytest.mark.parametrize(
    ("said", "threads"),
    [({}, 2), ({"OMP_NUM_THREADS": "6"}, 6), ({"SLURM_CPUS_PER_TASK": "3"}, 1)],
)
def test_processes_share_the_cores_unless_they_are_told(said, threads, tmp_path, monkeypatch):
    seen, before = [], torch.get_num_threads()

    def check(settings, processes):
        seen.append(torch.get_num_threads())
        if len(seen) == 2:
            raise UserError("that is enough")

    monkeypatch.setattr(sys, "argv", [*command(tmp_path)[1:], "--processes", "3"])
    monkeypatch.setattr(ranks, "together", lambda count, begin, killed: begin())
    monkeypatch.setattr(placing, "check", check)  # here, and in a process of the run
    for name in ("OMP_NUM_THREADS", *SLURM):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    torch.set_num_threads(6)
    try:
        with pytest.raises(SystemExit):
            program()
    finally:
        torch.set_num_threads(before)
    assert seen == [6, threads]


def test_a_folder_of_another_run_is_refused(undisturbed, monkeypatch, capsys):
    before = (undisturbed / "config.gin").read_text()
    message = refused(monkeypatch, capsys, undisturbed, "losses.tvm.target_decay = 0.5")
    assert "losses.tvm.target_decay" in message
    assert (undisturbed / "config.gin").read_text() == before


LONGER = "train.steps = 400"
HELD = f"process {os.getpid()} on "


def test_a_run_that_is_being_trained_is_refused_and_keeps_its_settings(
    undisturbed, monkeypatch, capsys
):
    before = (undisturbed / "config.gin").read_text()
    with claims.claim(undisturbed):
        message = refused(monkeypatch, capsys, undisturbed, LONGER)
    assert HELD in message
    assert "trains this run already: wait for it, or choose another --output" in message
    assert (undisturbed / "config.gin").read_text() == before


def test_several_processes_are_refused_a_run_that_is_being_trained(undisturbed):
    kept = {p: p.read_bytes() for p in undisturbed.rglob("*") if p.is_file()}
    with claims.claim(undisturbed):
        kept[undisturbed / claims.LOCK] = (undisturbed / claims.LOCK).read_bytes()
        done = subprocess.run(
            [*command(undisturbed, [*SMALL, LONGER]), "--processes", "2"],
            capture_output=True,
            text=True,
            env=ONE_THREAD,
            check=False,
        )
    assert done.returncode == 2, done.stderr
    assert HELD in done.stderr
    assert done.stderr.count("\n") == 1
    assert {p: p.read_bytes() for p in undisturbed.rglob("*") if p.is_file()} == kept


def test_a_refusal_of_two_processes_is_said_once(tmp_path):
    sets = [*SMALL, "train.optimizer = @optimizers.muon", "train.distribution = 'fsdp'"]
    done = subprocess.run(
        [*command(tmp_path / "run", sets), "--processes", "2"],
        capture_output=True,
        text=True,
        env=ONE_THREAD,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("train.py: train.distribution = 'fsdp': train.optimizer cannot")
    (line,) = (tmp_path / "run/log.txt").read_text().splitlines()
    assert "ERROR train.distribution = 'fsdp': train.optimizer cannot" in line
