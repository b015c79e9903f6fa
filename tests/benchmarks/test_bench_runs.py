"""bench_scaling, bench_feeding and bench_sampling rehearsed: results on disk and tables."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def rehearse(name, path, *arguments, code=0):
    """Return what a benchmark wrote, and its table."""
    file = path / "results" / "found.json"
    command = [sys.executable, str(HERE / name), "--rehearse", "--output", str(file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("REHEARSAL")
    results = json.loads(file.read_text())
    assert all(result["rehearsal"] for result in results)
    return results, done.stdout


def test_two_processes_are_compared_with_one_and_a_failure_leaves_the_others(tmp_path):
    refused = ("--set", "train.optimizer = @optimizers.muon")  # in shards
    arguments = ("--kinds", "fsdp,one,ddp", "--steps", "2", *refused)
    results, table = rehearse("bench_scaling.py", tmp_path, *arguments, code=1)
    assert "xl2 fsdp: FAILED: exit 1" in table
    assert "| xl2 one | 1 | 4 | " in table
    _, one, two = results
    assert (one["processes"], two["processes"]) == (1, 2)
    assert len(two["medians_ms"]) == 2
    assert two["images_per_second"] == 8 / max(two["medians_ms"]) * 1e3


def test_a_step_fed_from_a_file_is_compared_with_one_that_has_its_batch(tmp_path):
    (*rates, step), _ = rehearse("bench_feeding.py", tmp_path, "--kinds", "rate,step")
    assert [r["processes"] for r in rates] == [1, 1, 2, 2]
    assert min(r["images_per_second"] for r in rates) > 0
    assert step["waiting_share"] == pytest.approx(1 - step["held_ms"] / step["mean_ms"])


def test_samples_are_counted_beside_their_floor(tmp_path):
    results, table = rehearse("bench_sampling.py", tmp_path, "--nfe", "1", "4")
    assert [r["nfe"] for r in results] == [1, 4]
    first, second = (r["floor_images_per_second"] for r in results)
    assert first == pytest.approx(4 * second)
    assert "| xl2 plain | 1 | 4 | " in table
