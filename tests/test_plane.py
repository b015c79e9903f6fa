"""TVM in the plane, where what exact samples would score is known."""

from pathlib import Path

import pytest
import torch

from framework.configuration import Configuration
from framework.streams import Streams
from framework.training.batches import Batches
from framework.training.experiment import Experiment
from framework.training.scoring import Scorer
from framework.training.trainer import Trainer

PLANE = Path(__file__).parents[1] / "gin/plane.gin"
BOUND = PLANE.parent / "ablations/wasserstein_bound.gin"
QUICK = (
    *("models.mlp.hidden_size = 24", "models.mlp.depth = 2", "evaluation.samples = 100"),
    *("metrics.wasserstein_bound.nodes = 10", "metrics.wasserstein_bound.points = 32"),
)
SHORT = (
    "train.steps = 400",
    "models.mlp.depth = 2",
    "train.batch_size = 128",
    "evaluation.nfe = (1,)",
)


def scores_along(gin, sets, steps):
    """Train for some steps in turn and return the scores after each of these stretches."""
    torch.set_num_threads(1)
    experiment = Experiment.build(Configuration.load([gin], sets).resolve())
    train, cpu = experiment.train, torch.device("cpu")
    trainer = Trainer(train, cpu)
    batches = Batches(train.dataset, Streams(train.seed), train.batch_size, cpu)
    scorer = Scorer(experiment.evaluation, trainer)
    for count in steps:
        for _ in range(count):
            trainer.train_step(batches.at(trainer.step + 1))
        yield {m.score.name: m.score.value for m in scorer.measure()}


def test_one_jump_is_within_half_again_of_exact_samples():
    (values,) = scores_along(PLANE, SHORT, [400])
    assert values["w2"] < 1.5 * values["w2_floor"]
    assert values["flow_error"] < 0.3


@pytest.mark.parametrize("arm", [(), ("models.mlp.normalization = @normalizations.none",)])
def test_the_bound_on_w2_holds_along_training(arm):
    found = list(scores_along(BOUND, (*QUICK, *arm), [0, 40]))
    for values in found:
        excess = values["w2_squared"] - values["w2_squared_floor"]
        assert excess < values["w2_squared_bound_one_sided"] <= values["w2_squared_bound"]
        assert values["flow_error_squared"] < values["w2_squared_bound_one_sided"]
    assert found[-1]["flow_error_squared"] < found[0]["flow_error_squared"]
    assert found[-1]["lipschitz_integral"] > 0
