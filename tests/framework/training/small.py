"""Trainers of a small network on digits, as gin builds them."""

from pathlib import Path

import torch

from framework.configuration import Configuration
from framework.streams import Streams
from framework.training.batches import Batches
from framework.training.experiment import Experiment
from framework.training.trainer import Trainer

DIGITS = Path(__file__).parents[3] / "gin" / "digits.gin"
SIZE = ("models.dit.hidden_size = 24", "models.dit.depth = 2", "models.dit.num_heads = 2")


def trainer_of(*settings, device="cpu"):
    """Return a trainer and its batches."""
    bindings = [*SIZE, "train.batch_size = 8", *settings]
    train = Experiment.build(Configuration.load([DIGITS], bindings).resolve()).train
    on = torch.device(device)
    return Trainer(train, on), Batches(train.dataset, Streams(train.seed), train.batch_size, on)


def losses_of(trainer, batches, steps):
    """Train some steps and return their losses."""
    for _ in range(steps):
        trainer.train_step(batches.at(trainer.step + 1))
    return [values["loss/total"] for _, values in trainer.recorder.history(trainer.step)]
