"""What recording costs a step, and what reading a thousand runs costs.

Run with `python -m pytest tests/benchmarks/bench_results.py --benchmark-only`. The limits are
those of the design: 1 % of a 10 ms step, and 10 s for 1,000 runs.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from framework.results import Evaluation, RunConfig, RunWriter, load
from framework.results.layout import HDF5_NAME
from framework.results.publishing import build
from framework.results.records import SCALAR, Changes

STEP_SECONDS = 0.010
TAGS = tuple(f"{group}/{name}" for group in ("loss", "norm", "jvp", "time") for name in "abcde")


def config_of(arm: int, seed: int, identity: str) -> RunConfig:
    decay = [0.0, 0.9, 0.99, 0.999][arm % 4]
    return RunConfig(
        gin_text="train.steps = 1200\n" * 150,
        resolved={f"train.setting_{n}": n for n in range(100)},
        identity=identity,
        grid="bench",
        arm=f"target_decay={decay},arm={arm}",
        seed=seed,
        varied={"losses.tvm.target_decay": decay, "arm": arm, "norm": "rms"},
        git_diff="+ a line\n" * 500,
    )


def write_grid(directory: Path, arms: int, seeds: int) -> None:
    """Finished runs of 20 tags x 50 points and 100 evaluations each."""
    rng = np.random.default_rng(0)
    for arm, seed in itertools.product(range(arms), range(seeds)):
        points = np.empty(50, SCALAR)
        points["step"], points["value"] = np.arange(0, 1200, 24), rng.standard_normal(50)
        points["time"] = time.time()
        identity = f"{arm:08x}{seed:08x}"
        changes = Changes(config=config_of(arm, seed, identity))
        changes.scalars = {tag: [points] for tag in TAGS}
        rows = itertools.product(("fd@abcdef", "agreement@abcdef"), (1, 2, 4), range(4))
        changes.evaluations = [
            Evaluation(
                1200,
                metric,
                rng.random(),
                "lower",
                nfe,
                1.5,
                weights,
                "n_step",
                "uniform",
                block,
                2048,
                time.time(),
            )  # fmt: skip
            for metric, nfe, block in rows
            for weights in ("ema_0.99", "ema_0.999", "ema_0.9999", "trained")
        ]
        run = directory / f"arm={arm}" / f"seed={seed}-{identity[:8]}"
        run.mkdir(parents=True)
        (run / HDF5_NAME).write_bytes(build(None, changes, ("0" * 32, 0)))


@pytest.mark.parametrize("tensorboard", [False, True], ids=["hdf5", "hdf5+tensorboard"])
def test_logging_every_step(benchmark, tmp_path, tensorboard):
    """20 scalars every step, flushes, publications and the closing included."""
    steps, values = 3_000, dict.fromkeys(TAGS, 1.5)
    runs = itertools.count()

    def train():
        directory = tmp_path / str(next(runs))
        with RunWriter(
            directory,
            config=config_of(0, 0, "0"),
            tensorboard=tensorboard,
            flush_seconds=0.1,
            publish_seconds=1.0,
        ) as writer:
            for step in range(steps):
                writer.scalars(step, values)

    benchmark.pedantic(train, rounds=3)
    benchmark.extra_info["microseconds a step"] = benchmark.stats.stats.min / steps * 1e6
    assert benchmark.stats.stats.min / steps < 0.01 * STEP_SECONDS


@pytest.mark.parametrize("kinds", [None, ("evaluation",)], ids=["all", "evaluations"])
def test_loading_a_thousand_runs(benchmark, tmp_path, kinds):
    write_grid(tmp_path, arms=200, seeds=5)
    frame = benchmark.pedantic(load, (tmp_path,), {"kinds": kinds}, rounds=2)
    assert len(frame) == 1_000 * (96 + (0 if kinds else 20 * 50))
    assert benchmark.stats.stats.max < 10.0
