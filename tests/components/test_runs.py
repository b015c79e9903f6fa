"""Whole runs under gin names: every pair that is allowed trains, the others are refused before."""

import itertools
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components.metrics import cache
from components.metrics.classifier import Recipe
from framework import UserError, registry
from framework.configuration import Configuration
from framework.streams import Streams
from framework.training.batches import Batches
from framework.training.experiment import Experiment
from framework.training.scoring import Scorer
from framework.training.trainer import Trainer
from tests.components.covering import all_pairs, covering_rows
from tests.components.datasets.idx_files import write_clothes
from tests.components.datasets.latents_files import write_latents

DEFAULTS = Path(__file__).parents[2] / "gin/defaults.gin"
EVERY = f"""
include '{DEFAULTS}'
train.steps = 2
train.batch_size = 8
models.dit.hidden_size = 8
models.dit.depth = 1
models.dit.num_heads = 2
models.dit.patch_size = 4
models.mlp.hidden_size = 8
models.mlp.depth = 1
models.unet.hidden_size = 8
losses.tvm.guidance = %guidance
losses.mean_flow.time_sampler = @time_samplers.gap()
losses.mean_flow.guidance = %guidance
losses.pid.teacher = 'own'
schedules.warmup.warmup_steps = 3
samplers.guided.sampler = @samplers.heun()
one/datasets.gaussian_mixture.labelled = False
datasets.latents.resolution = 8
datasets.latents.num_classes = 3
datasets.latents.mean = (0.0, 0.0, 0.0, 0.0)
datasets.latents.std = (1.0, 1.0, 1.0, 1.0)
evaluation.samples = 10
evaluation.nfe = (4,)
""" + "\n".join(
    [
        f"models.{model}.{part}"
        for model in ("mlp", "unet")
        for part in (
            "time_embedding = @time_embeddings.sinusoidal",
            "second_time = @second_times.difference",
            "normalization = @normalizations.rms",
            "modulation_norm = @modulation_norms.rms",
            "initializer = @initializers.spectral()",
        )
    ]
    + [
        f"losses.{loss}.{part}"
        for loss in ("flow_matching", "pid", "shortcut")
        for part in (
            "time_sampler = @time_samplers.uniform()",
            "guidance = %guidance",
            "flow_map = @flow_maps.plain()",
        )
    ]
)
UNLABELLED = "one/datasets.gaussian_mixture"
FACTORS = {
    "model": ["dit", "unet", "mlp"],
    "dataset": [
        *("digits", "fashion_mnist", "image_folder", "latents"),
        *("gaussian_mixture", "checkerboard", "spirals", UNLABELLED),
    ],
    "loss": ["tvm", "flow_matching", "mean_flow", "pid", "shortcut"],
    "guidance": ["constant", "none", "random_beta", "random_w", "uniform_beta"],
    "sampler": ["flow_map", "euler", "heun", "guided"]
    + ["adaptive"] * (find_spec("torchdiffeq") is not None),
    "metric": [
        *("class_agreement", "frechet_distance", "kernel_distance", "coverage"),
        *("sliced_wasserstein", "wasserstein", "flow_error", "wasserstein_bound"),
    ],
    "schedule": ["constant", "warmup", "cosine"],
    "weight_average": ["constant", "none", "power"],
}
POINTS = {"mlp", *FACTORS["dataset"][4:], "wasserstein", "flow_error", "wasserstein_bound"}
EITHER = {"sliced_wasserstein"}
KNOWN_FLOW = {"gaussian_mixture", UNLABELLED}
REFUSED = {  # and why, beside pictures where points are wanted and the other way round
    ("sampler", "flow_map", "loss", "flow_matching"),
    ("sampler", "guided", "guidance", "constant"),
    *(("metric", "flow_error", "dataset", d) for d in ("checkerboard", "spirals")),
    *(("metric", "wasserstein_bound", "dataset", d) for d in FACTORS["dataset"][4:7]),
}


def allowed(row):
    shaped = {row[kind] for kind in ("model", "dataset", "metric") if kind in row} - EITHER
    if len({value in POINTS for value in shaped}) > 1:
        return False
    return not any(row.get(a) == x and row.get(b) == y for a, x, b, y in REFUSED)


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """A gin file with settings for all of them, and the files that datasets read."""
    folder = tmp_path_factory.mktemp("every")
    write_clothes(folder / "clothes")
    for index in range(20):
        pixels = np.random.default_rng(index).integers(256, size=(8, 8, 3), dtype=np.uint8)
        path = folder / f"images/{index % 3}/{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    write_latents(folder / "latents.h5", count=20, resolution=8)
    (folder / "every.gin").write_text(
        f"{EVERY}\ndatasets.latents.path = '{folder}/latents.h5'\n"
        f"datasets.image_folder.path = '{folder}/images'\n"
        f"datasets.fashion_mnist.path = '{folder}/clothes'\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(cache, "Recipe", partial(Recipe, epochs=1))
        (folder / "row.gin").write_text("include 'every.gin'\n")
        yield folder / "row.gin"


def experiment(path, row):
    random = row["guidance"] not in ("constant", "none")
    sets = [
        f"train.model = @models.{row['model']}",
        f"train.dataset = @{row['dataset']}()",
        f"train.loss = @losses.{row['loss']}()",
        f"guidance = @guidances.{row['guidance']}()",
        f"evaluation.sampler = @samplers.{row['sampler']}()",
        f"evaluation.metrics = (@metrics.{row['metric']},)",
        f"train.schedule = @schedules.{row['schedule']}()",
        f"train.evaluation_average = @weight_averages.{row['weight_average']}()",
        *["evaluation.weight = 1.5"] * random,
        *["evaluation.nfe = None"] * (row["sampler"] == "adaptive"),
    ]
    return Experiment.build(Configuration.load([path], sets).resolve())


ROWS = covering_rows(FACTORS, allowed)


def test_every_component_of_these_kinds_is_among_them():
    elsewhere = {"frechet_inception_distance"}  # which needs weights that only its user can fetch
    for kind, values in FACTORS.items():
        known = {c.name for c in registry.components(kind) if c.module.startswith("components.")}
        assert known - elsewhere - {"adaptive"} <= {value.rpartition(".")[2] for value in values}


def test_the_rows_cover_every_allowed_pair():
    seen = {frozenset(pair) for row in ROWS for pair in itertools.combinations(row.items(), 2)}
    assert seen == all_pairs(FACTORS, allowed)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_it_trains_and_is_judged(row, every):
    built = experiment(every, row)
    built.check()
    train, cpu = built.train, torch.device("cpu")
    trainer = Trainer(train, cpu)
    batches = Batches(train.dataset, Streams(0), train.batch_size, cpu)
    for step in (1, 2):
        trainer.train_step(batches.at(step))
    assert trainer.recorder.broken(2, ["loss/total", "gradient_norm"]) is None
    assert list(Scorer(built.evaluation, trainer).measure())


@pytest.mark.parametrize("pair", sorted(REFUSED), ids=lambda pair: f"{pair[1]}-{pair[3]}")
def test_a_pair_that_makes_no_sense_is_refused_before_training(pair, every):
    a, x, b, y = pair
    others = [row for row in ROWS if row[b] == y]
    with pytest.raises(UserError) as refusal:
        experiment(every, {**others[0], a: x}).check()
    assert "\n" not in str(refusal.value)
