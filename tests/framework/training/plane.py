"""Tiny runs in the plane, as gin builds them."""

from pathlib import Path

from framework.configuration import Configuration
from framework.training import State, folder, run
from framework.training.experiment import Experiment

PLANE = Path(__file__).parents[3] / "gin/plane.gin"
TINY = (
    *("models.mlp.hidden_size = 16", "models.mlp.depth = 1", "train.batch_size = 16"),
    *("train.steps = 2", "evaluation.samples = 40", "evaluation.batch_size = 30"),
    *("evaluation.metrics = (@metrics.sliced_wasserstein,)", "logging.pictures = 2"),
)
VELOCITY = (
    "train.loss = @losses.flow_matching()",
    "losses.flow_matching.time_sampler = @time_samplers.uniform()",
    "losses.flow_matching.guidance = @guidances.none()",
    "losses.flow_matching.flow_map = @flow_maps.plain()",
)
ADAPTIVE = (*VELOCITY, "evaluation.sampler = @samplers.adaptive()", "evaluation.nfe = None")
RANDOM = (
    "losses.tvm.guidance = @guidances.random_beta()",
    "evaluation.weight = (2.0, 1.5)",
    "evaluation.nfe = (1,)",
)


def configured(*sets):
    return Configuration.load([PLANE], [*TINY, *sets])


def trained(directory, *sets):
    resolved = configured(*sets).resolve()
    Experiment.build(resolved).check()
    folder.prepare(directory, resolved)
    assert run(directory) is State.DONE
    return directory
