"""Parts of a run looked at on their own, where three updates would show too little of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from framework.probing import fingerprints as at
from framework.probing.fingerprints import Fingerprint
from framework.protocols import Dataset
from framework.streams import Streams
from framework.training.experiment import Experiment
from framework.training.settings import Train
from framework.training.weights import EVALUATION

POINTS = 16
MOST_EXAMPLES = 256
GRADIENT_SIZES = (1e-3, 1.0, 1e3)


def observe_parts(to: Fingerprint, train: Train, model: nn.Module) -> None:
    """Note learning rates and decays over the whole run, and the optimizer in double precision."""
    averages = {**train.loss.averages(), EVALUATION: train.evaluation_average}
    for point, step in enumerate(_along(train.steps)):
        to.say(at.RATE, str(point), train.schedule(step, train.steps))
        for name, average in averages.items():
            to.say(at.AVERAGES, f"{name} at {point}", average.decay(step))
    _observe_optimizer(to, train, model)


def observe_length(to: Fingerprint, experiment: Experiment) -> None:
    """Note what the framework itself does as it is told: how long to train, how to evaluate."""
    settings = experiment.evaluation
    to.say(at.LENGTH, "steps", experiment.train.steps)
    for name in ("nfe", "samples", "blocks", "every"):
        to.say(at.EVALUATION, name, getattr(settings, name))


def observe_data(to: Fingerprint, dataset: Dataset) -> None:
    """Note labels and examples of a dataset, training and held out."""
    held_out = dataset.held_out()
    chosen = torch.arange(min(MOST_EXAMPLES, len(dataset)))
    u = Streams(0).uniform("probe", 0, range(len(chosen)), 2)
    to.say(at.DATA, "size", (dataset.name, dataset.shape, dataset.num_classes, len(dataset)))
    to.add(at.DATA, "all labels", dataset.labels())
    to.add(at.DATA, "held out", held_out.x[:MOST_EXAMPLES])
    to.add(at.DATA, "held-out labels", held_out.labels)
    to.add(at.DATA, "first", dataset.examples(chosen, u).x)
    to.add(at.DATA, "images", dataset.images(dataset.examples(chosen, u).x))


def _along(steps: int) -> list[int]:
    """Return the first steps, and some over the whole length."""
    return [min(i, steps) for i in (1, 2, 3)] + [
        max(1, steps * i // POINTS) for i in range(1, POINTS + 1)
    ]


def _observe_optimizer(to: Fingerprint, train: Train, model: nn.Module) -> None:
    """Let the optimizer move copies of the weights in double precision by given gradients.

    A weight decay of 1e-6 disappears in a float32 update, and not in this one.
    """
    streams = Streams(0)
    copies = [(name, nn.Parameter(p.detach().double())) for name, p in model.named_parameters()]
    optimizer = train.optimizer(copies)
    for size in GRADIENT_SIZES:
        for name, parameter in copies:
            parameter.grad = size * _noise(streams, name, parameter)
        optimizer.step()
    to.add_all(at.OPTIMIZER, "in double/", copies)


def _noise(streams: Streams, name: str, like: Tensor) -> Tensor:
    generator = streams.generator(f"probe/gradient/{name}")
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)
