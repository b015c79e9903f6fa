"""launch/profile_step.py on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SMALL = (
    "models.dit.hidden_size = 24",
    "models.dit.depth = 1",
    "models.dit.num_heads = 2",
    "train.batch_size = 4",
)


def run(*arguments):
    command = [sys.executable, "launch/profile_step.py", "--gin", "gin/digits.gin"]
    for binding in SMALL:
        command += ["--set", binding]
    return subprocess.run(
        [*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )


def test_json_says_where_time_goes_and_a_trace_is_written(tmp_path):
    trace = tmp_path / "trace.json"
    done = run("--steps", "2", "--json", "--trace", str(trace))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = [section["name"] for section in found["sections"]]
    parts = {"data", "jvp and forward", "target", "backward", "optimizer", "averages", "logging"}
    assert set(names) == parts
    assert all(section["milliseconds"] > 0 for section in found["sections"])
    assert len(found["kernels"]) == 10
    assert found["matrix_operations"] > 0
    assert found["utilisation"] is None
    assert found["compiled"] is False
    assert "traceEvents" in json.loads(trace.read_text())


def test_on_a_cpu_no_memory_is_claimed_and_kernels_are_operators():
    done = run("--steps", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "memory: not measured on a CPU" in done.stdout
    assert "GB" not in done.stdout
    assert "Optimizer.step" not in done.stdout


def test_bad_options_take_a_line():
    done = run("--steps", "0")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["profile_step.py: --steps 0: it has to be at least 1"]
