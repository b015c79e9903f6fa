"""TVM in the plane, where what exact samples would score is known."""

from pathlib import Path

import torch

from framework.configuration import Configuration
from framework.streams import Streams
from framework.training.batches import Batches
from framework.training.experiment import Experiment
from framework.training.scoring import Scorer
from framework.training.trainer import Trainer

PLANE = Path(__file__).parents[1] / "gin/plane.gin"
SHORT = (
    "train.steps = 400",
    "models.mlp.depth = 2",
    "train.batch_size = 128",
    "evaluation.nfe = (1,)",
)


def test_one_jump_is_within_half_again_of_exact_samples():
    torch.set_num_threads(1)
    experiment = Experiment.build(Configuration.load([PLANE], SHORT).resolve())
    train, cpu = experiment.train, torch.device("cpu")
    trainer = Trainer(train, cpu)
    batches = Batches(train.dataset, Streams(train.seed), train.batch_size, cpu)
    for step in range(1, train.steps + 1):
        trainer.train_step(batches.at(step))
    values = {m.score.name: m.score.value for m in Scorer(experiment.evaluation, trainer).measure()}
    assert values["w2"] < 1.5 * values["w2_floor"]
    assert values["flow_error"] < 0.3
