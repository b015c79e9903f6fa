"""A large finished grid on disk, every run written by `RunWriter` as a training run writes it.

Its numbers are drawn, its files are real: `python -m tests.benchmarks.stored_runs DIR 1000 5`.
"""

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

from framework.grid.manifest import CellRecord, Manifest
from framework.results import RunConfig, RunWriter

TAGS = ("loss/total", "loss/terminal", "loss/flow_matching", "gradient_norm", "jvp_norm",
        "learning_rate", "rate/steps_per_second", "lipschitz/mean")  # fmt: skip
LOGGED = range(8, 801, 8)
EVALUATED = range(160, 801, 160)
METRICS = {"fd@0123456789abcdef": "lower", "agreement@0123456789abcdef": "higher"}
NFES, BLOCKS = (1, 2, 4), 4
ROWS = len(TAGS) * len(LOGGED) + len(EVALUATED) * len(METRICS) * len(NFES) * BLOCKS
"""Values that one run records."""
AXES = ("losses.tvm.target_decay", "optimizers.adamw.lr")
WIDTH = 40
"""Values of the first axis."""


def write_grid(directory: Path, arms: int, seeds: int) -> None:
    """Write a product grid of `arms` x `seeds` finished runs, with its manifest."""
    values = {arm: (0.9 + 0.001 * (arm % WIDTH), 1e-4 * (1 + arm // WIDTH)) for arm in range(arms)}
    names = {arm: f"target_decay={a:.3f},lr={b:.4f}" for arm, (a, b) in values.items()}
    cells = []
    for arm, seed in itertools.product(range(arms), range(seeds)):
        identity = f"{arm:08x}{seed:08x}"
        cell = CellRecord(names[arm], seed, identity, f"{names[arm]}/seed={seed}-{arm:08x}")
        cells.append(cell)
        varied = dict(zip(AXES, values[arm], strict=True))
        write_run(directory / cell.directory, cell, varied)
    Manifest(
        name="large", description="Drawn numbers in real files", metric="fd", metric_nfe=1,
        baseline=names[0], seeds=list(range(seeds)),
        axes={name: list(dict.fromkeys(repr(v[k]) for v in values.values()))
              for k, name in enumerate(AXES)},
        zips={}, equivalent=[],
        arms=[{"name": names[arm], "settings": dict(zip(AXES, map(repr, values[arm]), strict=True))}
              for arm in range(arms)],
        cells=cells, command="python -m tests.benchmarks.stored_runs", created=time.time(),
    ).write(directory)  # fmt: skip


def write_run(directory: Path, cell: CellRecord, varied: dict[str, float]) -> None:
    """Write the files of one finished run of ROWS values and three sets of pictures."""
    config = RunConfig(
        gin_text="train.steps = 800\n" * 100,
        resolved={f"train.setting_{n}": n for n in range(80)} | varied,
        identity=cell.identity, grid="large", arm=cell.arm, seed=cell.seed, varied=varied,
        git_commit="0123456789abcdef", git_diff="+ a line\n" * 200,
        versions={"python": "3.11", "torch": "2.13.0"}, host="node-1", device="cpu",
        command="python launch/train.py --gin config.gin",
    )  # fmt: skip
    draw = np.random.default_rng([cell.seed, int(cell.identity[:8], 16)])
    level = 10 + draw.normal() + np.random.default_rng(cell.seed).normal()
    with RunWriter(directory, config=config) as writer:
        for step in LOGGED:
            writer.scalars(step, dict(zip(TAGS, draw.random(len(TAGS)) + 8 / step, strict=True)))
            if step in EVALUATED:
                _evaluate(writer, draw, step, level)
        for nfe in NFES:
            images = draw.integers(0, 255, (10, 8, 8, 1)).astype(np.uint8)
            writer.samples(step, nfe, images, np.arange(10))
    beat = {"state": "done", "step": 800, "steps": 800, "seconds": 80 + draw.random(),
            "steps_per_second": 10.0, "flops_per_step": 1e9}  # fmt: skip
    (directory / "heartbeat.json").write_text(json.dumps(beat))
    (directory / "config.gin").write_text(config.gin_text)
    (directory / "log.txt").write_text("step 800\n")


def _evaluate(writer: RunWriter, draw: np.random.Generator, step: int, level: float) -> None:
    for (metric, direction), nfe, block in itertools.product(METRICS.items(), NFES, range(BLOCKS)):
        writer.evaluation(
            step, metric, level / nfe + 160 / step + 0.1 * draw.normal(), direction=direction,
            nfe=nfe, w=1.5, weights="evaluation", sampler="euler", time_grid="uniform",
            block=block, samples=500,
        )  # fmt: skip


if __name__ == "__main__":
    write_grid(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
