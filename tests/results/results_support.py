"""What the tests of framework.results share."""

import math
from pathlib import Path

import numpy as np

from framework.results import RunConfig, RunWriter


def make_config(**changes) -> RunConfig:
    values = {
        "gin_text": "train.steps = 10\n",
        "resolved": {"train.steps": 10, "losses.tvm.target_decay": 0.99},
        "identity": "0123456789abcdef",
        "grid": "ema_target",
        "arm": "target_decay=0.99",
        "seed": 0,
        "varied": {"losses.tvm.target_decay": 0.99},
        "git_commit": "c0ffee",
        "git_diff": "",
        "versions": {"torch": "2.13"},
        "host": "node1",
        "device": "cpu",
        "command": "python launch/train.py --gin run.gin",
        "sources": {"losses.tvm": "abc"},
        "metric": "fd",
        "metric_nfe": 1,
    }
    return RunConfig(**{**values, **changes})


def value_at(tag: str, step: int) -> float:
    """What a test records at a step: a resumed run records the same again."""
    return math.sin(step) + len(tag)


def record_step(writer: RunWriter, step: int) -> None:
    """One step of a small run that evaluates every 5 steps and draws samples every 10."""
    writer.scalars(step, {tag: value_at(tag, step) for tag in ("loss/total", "loss/mse", "lr")})
    if step % 5 == 0:
        for block in range(2):
            evaluate(writer, step, block=block)
    if step % 10 == 0:
        images = np.full((4, 3, 2, 3), step % 256, np.uint8)
        writer.samples(step, 1, images, [0, 1, 2, 3])


def evaluate(writer: RunWriter, step: int, value: float | None = None, **changes) -> None:
    how = {
        "direction": "lower",
        "nfe": 1,
        "w": 1.5,
        "weights": "ema_0.999",
        "sampler": "n_step",
        "time_grid": "uniform",
        "block": 0,
        "samples": 1000,
    }
    value = value_at("fd", step) if value is None else value
    writer.evaluation(step, changes.pop("metric", "fd"), value, **{**how, **changes})


def write_run(directory: Path, steps: int = 20, **config) -> Path:
    with RunWriter(directory, config=make_config(**config)) as writer:
        for step in range(1, steps + 1):
            record_step(writer, step)
    return directory
