"""bench_step.py rehearsed: processes, results on disk, the table and what it says of failures."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("bench_step.py")


def run(*arguments):
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_cases_are_measured_packed_and_written(tmp_path):
    file = tmp_path / "new" / "step.json"
    done = run("small_eager", "packed", "--rehearse", "--output", str(file))
    assert done.returncode == 0, done.stderr
    measured, packed = json.loads(file.read_text())
    assert measured["rehearsal"]
    assert packed["rehearsal"]
    assert measured["graphs"] == 0
    assert measured["operations"] > 0
    assert list(measured["seconds_from_process_start"]) == [
        "imported", "built", "compiled", "first_step",
    ]  # fmt: skip
    assert list(packed["steps_per_second"]) == ["1", "2"]
    assert min(packed["steps_per_second"].values()) > 0
    assert done.stdout.startswith("REHEARSAL")


def test_a_time_limit_ends_a_case_and_the_next_one_starts(tmp_path):
    file = tmp_path / "step.json"
    limited = ("--limit", "0.5", "--rehearse", "--output", str(file))
    done = run("small_eager,small", "packed", *limited)
    assert done.returncode == 1
    assert done.stdout.count("FAILED: exit -9: over its time limit") == 3
    assert [r["case"] for r in json.loads(file.read_text())] == ["small_eager", "small", "packed"]


def test_the_table_marks_a_step_that_was_not_compiled(tmp_path):
    result = {
        "case": "xl2", "device": "a GPU", "torch": "2", "median_ms": 200.04, "reserved_gb": 33.0,
        "floor_ms": 105.4, "seconds_from_process_start": {"first_step": 35.0}, "graphs": 3,
    }  # fmt: skip
    file = tmp_path / "step.json"
    file.write_text(json.dumps([result | {"fell_back": False}, result | {"fell_back": True}]))
    lines = run("--table", str(file)).stdout.splitlines()
    assert lines[0] == "a GPU, torch 2"
    assert lines[-2] == (
        "| xl2 | 985 ms, 71.9 GB | 282 ms, 48.2 GB | 235 ms, 36.0 GB | 190 ms | 200 ms, 33.0 GB "
        "| 105.4 ms | 35.0 s | 3 |"
    )
    assert lines[-1].endswith("| RAN EAGER: NOT COMPILED |")
