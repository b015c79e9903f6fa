"""Synthetic grids of known truth, as a loader would hand them to the report."""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from framework.report.grid_results import RUN_COLUMNS, Arm, GridResults, Pictures, RunFacts


@dataclass
class SyntheticReader:
    """Pictures of noise around each arm's tint; no files behind them."""

    size: int = 8
    classes: int = 10

    def samples(self, directory: Path) -> dict[tuple[int, int], Pictures]:
        draw = np.random.default_rng(7)
        latents = draw.normal(size=(self.classes, self.size, self.size, 1))
        y, x = np.mgrid[-1 : 1 : self.size * 1j, -1 : 1 : self.size * 1j]
        ring = np.exp(-(((np.hypot(x, y) - 0.6) / 0.25) ** 2))[None, ..., None]
        tint = sum(map(ord, directory.parent.name)) % 7 / 7
        labels = np.arange(self.classes)
        return {
            (200, nfe): (
                np.clip(255 * (ring + (0.2 + 0.5 * tint) / nfe * latents), 0, 255).astype(np.uint8),
                labels,
            )
            for nfe in (1, 2, 4)
        }

    def facts(self, directory: Path) -> RunFacts:
        return RunFacts(
            commit="0123456789abcdef",
            host="node-1",
            device="cpu",
            command="python launch/train.py --gin config.gin",
            versions={"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"},
        )

    def file(self, directory: Path) -> Path | None:
        return None


@dataclass
class Truth:
    """What the synthetic grid is made of; effects are added to the metric of each arm."""

    effects: dict[str, float]
    seeds: int = 3
    seed_noise: float = 0.5
    shared_noise: float = 1.0
    block_noise: float = 0.2
    blocks: int = 4
    level: float = 10.0
    evaluations: int = 5
    nfes: tuple[int, ...] = (1, 2, 4)
    scalar_points: int = 40
    diverged: dict[tuple[str, int], int] = field(default_factory=dict)
    states: dict[tuple[str, int], str] = field(default_factory=dict)
    speed: dict[str, float] = field(default_factory=dict)
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    variants: tuple[str, ...] = ("",)
    steps: int = 200
    flops_per_step: float = float("nan")


def build(
    truth: Truth, directory: Path = Path("runs/synthetic"), baseline: str | None = None
) -> GridResults:
    """Build a grid in memory; arms of one seed share `shared_noise`."""
    draw = np.random.default_rng(0)
    arms = list(truth.effects)
    shared = truth.shared_noise * draw.normal(size=truth.seeds)
    cells = list(product(arms, truth.variants, range(truth.seeds)))
    runs = pd.DataFrame([_run(truth, *cell) for cell in cells], columns=list(RUN_COLUMNS))
    own = truth.seed_noise * draw.normal(size=len(cells))
    frame = pd.concat(
        [_evaluations(truth, cells, shared, own, draw), _scalars(truth, cells, draw)],
        ignore_index=True,
    )
    for column in ("arm", "variant", "metric", "kind", "direction", "weights", "sampler"):
        frame[column] = frame[column].astype("category")
    settings = truth.settings or {arm: {"losses.tvm.target_decay": arm} for arm in arms}
    return GridResults(
        name="synthetic",
        description="Known truth: what each arm adds to the metric",
        directory=directory,
        metric="fd",
        metric_nfe=1,
        baseline=baseline if baseline is not None else arms[0],
        seeds=tuple(range(truth.seeds)),
        axes=truth.axes or {"losses.tvm.target_decay": tuple(arms)},
        equivalent=(),
        arms=tuple(
            Arm(
                arm,
                settings[arm],
                {v: {"train.lr": v} for v in truth.variants} if truth.variants != ("",) else {},
            )
            for arm in arms
        ),
        runs=runs,
        frame=frame,
        command="python launch/slurm.py --gin gin/ablations/synthetic.gin",
        reader=SyntheticReader(),
    )


def _run(truth: Truth, arm: str, variant: str, seed: int) -> tuple:
    lost = truth.diverged.get((arm, seed))
    state = "diverged" if lost else truth.states.get((arm, seed), "done")
    step = lost or (truth.steps if state == "done" else 0)
    speed = truth.speed.get(arm, 0.05)
    name = f"{arm}/seed={seed}-{abs(hash((arm, variant, seed))) % 16**8:08x}"
    cause = "loss is not finite (terminal term)" if lost else ""
    return (
        arm, variant, seed, "0" * 8, name, state, step, truth.steps, speed * step, speed,
        truth.flops_per_step, cause, lost or np.nan, "0123456789abcdef",
    )  # fmt: skip


def _evaluations(truth, cells, shared, own, draw) -> pd.DataFrame:
    steps = np.linspace(truth.steps / truth.evaluations, truth.steps, truth.evaluations).astype(int)
    grid = np.array(list(product(range(len(cells)), steps, truth.nfes, range(truth.blocks))))
    cell, step, nfe, block = grid.T
    arm = np.array([c[0] for c in cells], dtype=object)[cell]
    variant = np.array([c[1] for c in cells], dtype=object)[cell]
    seed = np.array([c[2] for c in cells])[cell]
    effect = np.array([truth.effects[c[0]] for c in cells])[cell]
    value = truth.level + effect + shared[seed] + own[cell]
    value = value + 12 * np.exp(-4 * step / truth.steps) - 1.2 * np.log2(nfe)
    value = value + truth.block_noise * draw.normal(size=len(value))
    tuned = np.array([truth.variants.index(c[1]) for c in cells])[cell]
    value = value + np.abs(tuned - 1.0) * (len(truth.variants) > 1)
    speed = np.array([truth.speed.get(c[0], 0.05) for c in cells])[cell]
    frame = pd.DataFrame(
        {
            "grid": "synthetic", "arm": arm, "variant": variant, "seed": seed, "step": step,
            "kind": "evaluation", "metric": "fd@digits-1a2b3c4d", "nfe": nfe.astype(float),
            "block": block.astype(float), "w": 1.5, "weights": "evaluation", "sampler": "euler",
            "time_grid": "uniform",
            "direction": "lower", "samples": 500, "value": value, "time": speed * step,
        }
    )  # fmt: skip
    alive = [_reached(truth, c) for c in cells]
    return frame[step <= np.array(alive)[cell]]


def _reached(truth: Truth, cell: tuple[str, str, int]) -> int:
    arm, _, seed = cell
    if (arm, seed) in truth.diverged:
        return truth.diverged[arm, seed]
    state = truth.states.get((arm, seed), "done")
    return {"done": truth.steps, "running": truth.steps // 2}.get(state, 0)


def _scalars(truth, cells, draw) -> pd.DataFrame:
    if not truth.scalar_points:
        return pd.DataFrame()
    steps = np.linspace(1, truth.steps, truth.scalar_points).astype(int)
    cell = np.repeat(np.arange(len(cells)), len(steps))
    step = np.tile(steps, len(cells))
    frame = pd.DataFrame(
        {
            "grid": "synthetic",
            "arm": np.array([c[0] for c in cells], dtype=object)[cell],
            "variant": np.array([c[1] for c in cells], dtype=object)[cell],
            "seed": np.array([c[2] for c in cells])[cell],
            "step": step, "kind": "scalar", "metric": "loss/total", "nfe": np.nan,
            "block": np.nan, "w": np.nan, "weights": None, "sampler": None,
            "time_grid": None, "direction": None,
            "samples": np.nan, "time": 0.05 * step,
            "value": np.exp(-3 * step / truth.steps) + 0.05 * draw.normal(size=len(step)),
        }
    )  # fmt: skip
    return frame[step <= np.array([_reached(truth, c) for c in cells])[cell]]


TARGETS = {"decay=0.99": 0.0, "decay=0": 5.3, "decay=0.9": 0.2, "decay=0.999": -1.4}


def four_arms(**changes) -> GridResults:
    """The paper's Table 4b in miniature: four arms, one of them with a diverged seed."""
    speed = {"decay=0": 0.045, "decay=0.999": 0.06}
    truth = Truth(
        effects=TARGETS, seeds=changes.pop("seeds", 5), diverged={("decay=0", 1): 120}, speed=speed
    )
    for name, value in changes.items():
        setattr(truth, name, value)
    return build(truth)


def many_arms(count: int, seeds: int = 3, **changes) -> GridResults:
    """A product grid of `count` arms (count divisible by 4)."""
    draw = np.random.default_rng(3)
    levels_a = tuple(f"{-0.4 - 0.2 * k:.1f}" for k in range(count // 4))
    levels_b = ("@rms", "@layer", "@none", "@group")
    settings, effects = {}, {}
    for (i, a), (j, b) in product(enumerate(levels_a), enumerate(levels_b)):
        name = f"gap_mean={a},norm={b[1:]}"
        settings[name] = {"time_samplers.gap.gap_mean": a, "models.dit.normalization": b}
        effects[name] = 0.3 * i + (0.0, 1.0, 4.0, 0.5)[j] + 0.2 * draw.normal()
    truth = Truth(effects=effects, seeds=seeds, settings=settings)
    truth.axes = {"time_samplers.gap.gap_mean": levels_a, "models.dit.normalization": levels_b}
    for name, value in changes.items():
        setattr(truth, name, value)
    return build(truth)
