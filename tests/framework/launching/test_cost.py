"""What a launch costs: estimated from former runs, else from a probe, else not at all."""

import dataclasses
import json

import pytest

from framework.errors import UserError
from framework.launching import cost
from framework.launching.decisions import decide
from framework.probing.probe import Findings, Sizes
from framework.training.memory import Memory
from tests.framework.launching.conftest import toy_plan

ARMS = ("target_decay=0.9", "target_decay=0.99")
SIZES = {arm: Sizes(checkpoints=1_000_000, batch_ratio=2.0) for arm in ARMS}
FOUND = Findings({}, dict.fromkeys(ARMS, 0.5), shrunk=False, runs=2, seconds=1)


def estimated(planned, grid, found=None):
    return cost.estimate(grid, decide(grid, planned, None)[1], SIZES, found)


def finished(run, seconds, steps=100):
    run.mkdir(parents=True)
    beat = {"state": "stopped", "step": steps, "steps": steps, "seconds": seconds}
    (run / "heartbeat.json").write_text(json.dumps(beat))


def test_nothing_timed_is_said_and_refused_with_a_budget(planned, grid):
    found = estimated(planned, grid)
    assert str(found) == "cost: hours unknown (no run of this grid was timed yet); 4 MB of " \
        "checkpoints"  # fmt: skip
    with pytest.raises(UserError, match="--budget 5: no run of this grid was timed yet: let one"):
        found.check(5.0)


def test_the_probe_is_scaled_to_the_batch(grid):
    found = estimated(toy_plan("train.steps = 3600"), grid, FOUND)
    assert found.hours == pytest.approx(4 * 3600 * 0.5 * 2 / 3600)
    assert "about 4 hours of runs (from the probe's updates on one core" in str(found)
    small = estimated(toy_plan(), grid, dataclasses.replace(FOUND, shrunk=True))
    assert "which grid.probe shrinks: a lower bound" in str(small)


def test_former_runs_of_any_grid_count_before_the_probe(grid):
    planned = toy_plan("train.steps = 3600")
    for cell in planned.cells[:1]:
        finished(grid.parent / "other/arm" / f"seed=0-{cell.identity[:8]}", seconds=200)
    found = estimated(planned, grid, FOUND)
    assert found.hours == pytest.approx(4 * 2)
    assert "from former runs" in found.source
    with pytest.raises(UserError, match="the 4 runs to start need about 8 hours of runs"):
        found.check(7.5)
    found.check(8.5)


def test_gpu_hours_count_devices_and_never_come_from_the_probe(grid):
    planned = toy_plan("train.steps = 3600", "launch.gpus = 4", "train.device = 'cuda'")
    assert estimated(planned, grid, FOUND).hours is None
    finished(grid.parent / "other/arm" / f"seed=0-{planned.cells[0].identity[:8]}", seconds=100)
    found = estimated(planned, grid, FOUND)
    assert (found.hours, found.unit) == (pytest.approx(16), "GPU hours")


def on_gpus(grid, memory):
    """Return the warnings of a grid on GPUs of 8 GiB, and what the first arm needs."""
    planned = toy_plan("launch.gpus = 1", "train.device = 'cuda'", "launch.gpu_memory = '8G'")
    sizes = {arm: dataclasses.replace(size, memory=memory) for arm, size in SIZES.items()}
    found = cost.estimate(grid, decide(grid, planned, None)[1], sizes, None)
    return found.warnings(), str(found.memory[0])


def test_what_does_not_fit_on_its_gpu_is_said_and_refused_if_that_is_certain(grid):
    assert on_gpus(grid, Memory(2**30, 7 * 2**30)) == (
        [],
        "about 7 GiB of GPU memory (estimated, uncompiled)",
    )
    warnings, _ = on_gpus(grid, Memory(2**30, 9 * 2**30))
    assert len(warnings) == 2
    assert "raise train.accumulation, or set train.checkpointing = 1" in warnings[0]
    assert on_gpus(grid, Memory(2**30))[1] == "at least 1 GiB of GPU memory (activations unknown)"
    with pytest.raises(UserError, match=r"alone take 9 GiB, and its GPU has 8 GiB"):
        on_gpus(grid, Memory(9 * 2**30, 12 * 2**30))


def test_memory_that_a_former_run_measured_counts_before_the_estimate(grid):
    identity = toy_plan("train.device = 'cuda'").cells[0].identity
    run = grid.parent / "other/arm" / f"seed=0-{identity[:8]}"
    finished(run, seconds=1)
    beat = json.loads((run / "heartbeat.json").read_text())
    (run / "heartbeat.json").write_text(json.dumps(beat | {"memory": 3 * 2**30}))
    warnings, need = on_gpus(grid, Memory(2**30, 9 * 2**30))
    assert need == "3 GiB of GPU memory (measured in a former run)"
    assert len(warnings) == 1  # the other arm's
