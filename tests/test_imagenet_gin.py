"""The ImageNet settings of Table 6: they resolve, build at full size, say what it says."""

import re
from pathlib import Path

import pytest
import torch

from framework import UserError
from framework.configuration import Configuration
from framework.training import State, folder, run
from framework.training.experiment import Experiment
from framework.training.trainer import construct_model
from tests.components.datasets.latents_files import write_latents

GIN = Path(__file__).parents[1] / "gin"
MODELS = {  # guidance weight, scaled, initializer, gradient clipping, latents
    "imagenet256": (2.0, "scaled", "spectral_time", None, 32),
    "imagenet256_w2": (2.0, "scaled", "spectral_time", None, 32),
    "imagenet256_w1.75": (1.75, "scaled", "spectral", None, 32),
    "imagenet512": (2.25, "scaled", "spectral_time", 1.0, 64),
    "imagenet512_w2.5": (2.5, "plain", "spectral", 1.0, 64),
    "imagenet512_w2.25": (2.25, "scaled", "spectral_time", 1.0, 64),
}
PUBLISHED = {  # FID of 1, 2 and 4 steps (Table 6)
    "imagenet256_w2": ("3.29", "2.80"),
    "imagenet256_w1.75": ("4.58", "2.61", "1.99"),
    "imagenet512_w2.5": ("4.32", "3.50"),
    "imagenet512_w2.25": ("5.37", "3.89", "2.94"),
}


def experiment_of(name, folder, *more):
    resolution = MODELS[name][-1]
    path = write_latents(folder / "latents.h5", count=2, resolution=resolution, classes=1000)
    sets = [
        f"datasets.latents.path = {str(path)!r}",
        "datasets.latents.vae = None",
        "evaluation.metrics = ()",  # which needs weights that only its user can fetch
        *more,
    ]
    return Experiment.build(Configuration.load([GIN / f"{name}.gin"], sets).resolve())


def test_these_are_all_of_them():
    found = {path.stem for path in GIN.glob("imagenet*.gin")}
    assert found == {*MODELS, "imagenet256_ablations"}  # the latter in test_ablations.py


@pytest.mark.parametrize("name", MODELS)
def test_it_resolves_and_builds_at_full_size(name, tmp_path):
    experiment = experiment_of(name, tmp_path)
    experiment.check()
    settings, train = experiment.resolved.settings, experiment.train
    weight, flow_map, initializer, clip, resolution = MODELS[name]
    assert settings["guidances.constant.weight"] == weight
    assert str(settings["losses.tvm.flow_map"]) == f"@flow_maps.{flow_map}()"
    assert str(settings["models.dit.initializer"]) == f"@initializers.{initializer}()"
    assert train.clip_norm == clip
    assert train.dataset.shape == (4, resolution, resolution)
    assert (train.steps, train.batch_size, train.precision) == (300_000, 2048, "bf16")
    assert settings["optimizers.adamw.lr"] == 1e-4
    assert settings["optimizers.adamw.betas"] == (0.9, 0.95)
    assert settings["optimizers.adamw.weight_decay"] == 0
    assert settings["losses.tvm.target_decay"] == 0.99
    assert settings["evaluation_average/weight_averages.constant.decay"] == 0.9999
    assert settings["guidances.constant.label_dropout"] == 0.1
    assert str(settings["losses.tvm.time_sampler"]) == "@time_samplers.gap_star()"
    with torch.device("meta"):
        model = construct_model(train)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == pytest.approx(678e6, rel=0.005)
    assert model.blocks[0].attention.q_norm.scale.shape == (64,)


def test_it_trains_on_latents(tmp_path):
    path = write_latents(tmp_path / "latents.h5", count=6, resolution=8, classes=1000)
    sizes = {"hidden_size": 16, "depth": 1, "num_heads": 2}
    sets = [f"models.dit.{name} = {value}" for name, value in sizes.items()]
    sets += [f"datasets.latents.path = {str(path)!r}", "datasets.latents.resolution = 8"]
    sets += ["datasets.latents.vae = None", "train.compile = False", "evaluation.metrics = ()"]
    sets += ["train.batch_size = 4", "train.accumulation = 2", "train.precision = 'fp32'"]
    sets += ["train.steps = 2", "logging.pictures = 2"]
    resolved = Configuration.load([GIN / "imagenet256_w2.gin"], sets).resolve()
    folder.prepare(tmp_path / "run", resolved)
    assert run(tmp_path / "run") is State.DONE
    assert (tmp_path / "run/checkpoints/step-00000002.pt").is_file()


def test_what_fid_lacks_is_said_before_the_first_step(tmp_path):
    metric = "evaluation.metrics = (@metrics.frechet_inception_distance,)"
    with pytest.raises(UserError, match=r"set datasets\.latents\.vae") as refusal:
        experiment_of("imagenet256", tmp_path, metric).check()
    assert "\n" not in str(refusal.value)


def test_training_without_a_file_is_refused_before_the_first_step(tmp_path):
    experiment = experiment_of("imagenet256", tmp_path, "datasets.latents.path = None")
    with pytest.raises(UserError, match="'latents' and has no training examples"):
        experiment.check()


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_a_lab_note(name):
    text = (GIN / f"{name}.gin").read_text()
    assert "Table 6" in text
    assert f"python launch/train.py --gin gin/{name}.gin" in text
    assert tuple(re.findall(r"\bsteps? (\d\.\d\d)", text)) == PUBLISHED[name]
    evaluated = max(map(int, re.findall(r"evaluation.nfe = \((.*)\)", text)[0].split(",")))
    assert evaluated == 2 ** (len(PUBLISHED[name]) - 1)
