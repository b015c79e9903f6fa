"""A small grid on disk, written as a launcher and its runs would."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from framework.grid.manifest import CellRecord, Manifest
from framework.results import RunConfig, RunWriter

LEVELS = {"gap": 10.0, "gap_star": 9.0, "clamp": 12.0}
BINDING = "losses.tvm.time_sampler"


def manifest(**changes: Any) -> Manifest:
    """Return a grid's manifest, empty but for what is given."""
    empty = Manifest(
        name="grid", description="", metric="fd", metric_nfe=1, baseline="", seeds=[], axes={},
        zips={}, equivalent=[], arms=[], cells=[], command="", created=0.0,
    )  # fmt: skip
    return replace(empty, **changes)


def write_grid(directory: Path, seeds: int = 3, name: str = "stored", shift: float = 0.0) -> Path:
    """Write 3 arms x `seeds`; seed 1 of clamp diverges at step 30."""
    cells = []
    for arm in LEVELS:
        for seed in range(seeds):
            folder = f"{arm}/seed={seed}-{arm[:3]}{seed:05d}"
            cells.append(CellRecord(arm, seed, f"{arm}{seed}", folder))
            _run(directory / folder, name, arm, seed, shift)
    manifest(
        name=name,
        description="How training draws jumps",
        baseline="gap",
        seeds=list(range(seeds)),
        axes={BINDING: [f"@time_samplers.{arm}()" for arm in LEVELS]},
        arms=[{"name": arm, "settings": {BINDING: f"@time_samplers.{arm}()"}} for arm in LEVELS],
        cells=cells,
        command="python launch/slurm.py --gin gin/ablations/stored.gin",
    ).write(directory)
    return directory


def _run(folder: Path, grid: str, arm: str, seed: int, shift: float) -> None:
    diverged = arm == "clamp" and seed == 1
    draw = np.random.default_rng(seed)
    config = RunConfig(
        gin_text="train.steps = 40\n",
        resolved={"train.steps": 40},
        identity=f"{arm}{seed}",
        grid=grid,
        arm=arm,
        seed=seed,
        varied={BINDING: f"@time_samplers.{arm}()"},
        git_commit="0123abcd",
        versions={"python": "3.11.7", "torch": "2.13.0"},
        host="node-1",
        device="x86_64 CPU, 1 threads",
        command="python launch/train.py",
    )
    with RunWriter(folder, config=config) as writer:
        level = LEVELS[arm] + draw.normal() + 0.1 * draw.normal() * len(arm) + shift
        for step in (10, 20) if diverged else (10, 20, 30, 40):
            writer.scalars(step, {"loss/terminal": 2.0 / step, "loss/total": 3.0 / step})
        for step in (20,) if diverged else (20, 40):
            for nfe in (1, 2, 4):
                for block in range(2):
                    writer.evaluation(
                        step, "fd@digits-0a1b2c3d", level - nfe + 20 / step + 0.1 * block,
                        direction="lower", nfe=nfe, w=1.5, weights="evaluation", sampler="Euler",
                        time_grid="uniform", block=block, samples=100,
                    )  # fmt: skip
                writer.evaluation(
                    step, "agreement", 0.9 - 0.01 * level / nfe, direction="higher", nfe=nfe,
                    w=1.5, weights="evaluation", sampler="Euler", time_grid="uniform", block=0,
                    samples=100,
                )  # fmt: skip
                images = draw.integers(0, 255, (10, 8, 8, 1)).astype(np.uint8)
                writer.samples(step, nfe, images, np.arange(10))
    step = 30 if diverged else 40
    beat = {
        "state": "diverged" if diverged else "done",
        "step": step,
        "steps": 40,
        "seconds": step * (0.2 if arm == "gap" else 0.25),
        "steps_per_second": 5.0,
        "cause": "loss is not finite" if diverged else "",
        "diverged_step": 30 if diverged else None,
    }
    (folder / "heartbeat.json").write_text(json.dumps(beat))
    (folder / "config.gin").write_text(config.gin_text)
    (folder / "log.txt").write_text("")
