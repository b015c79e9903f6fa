"""Held-out examples beside samples: what they look like and how metrics judge them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from framework.configuration.building import refusals
from framework.errors import UserError
from framework.protocols import Dataset, Score
from framework.training.pictures import Images
from framework.training.restored import Restored


def held_out_pictures(dataset: Dataset, classes: Sequence[int], count: int) -> Images:
    """Return the first held-out images of classes (classes times count, H, W, 1 or 3), in order.

    Raises:
        UserError: there are not so many of a class.
    """
    examples = dataset.held_out()
    chosen = [torch.nonzero(examples.labels == c).flatten()[:count] for c in classes]
    for number, found in zip(classes, chosen, strict=True):
        if len(found) < count:
            raise UserError(
                f"{dataset.name} holds out {len(found)} examples of class {number}, not {count}: "
                "ask for fewer with --count"
            )
    images: Images = dataset.images(examples.x[torch.cat(chosen)]).numpy()
    return images


def held_out_scores(run: Restored) -> list[Score]:
    """Return the scores of all held-out examples by a run's metrics: what samples can reach.

    Those that judge the flow itself say nothing of examples and are left out.

    Raises:
        UserError: the dataset holds nothing out.
    """
    dataset, device = run.experiment.train.dataset, run.trainer.device
    examples = dataset.held_out()
    if not len(examples.labels):
        raise UserError(f"{dataset.name} holds out no examples: there is nothing to judge")
    x, labels = examples.x.to(device), examples.labels.to(device)
    with refusals(()), torch.no_grad():
        metrics = [build(dataset=dataset) for build in run.experiment.evaluation.metrics]
        return [score for metric in metrics for score in metric(x, labels)]
