"""Scores and pictures of a run's evaluation weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from framework.configuration.building import refusals
from framework.distribution import World
from framework.errors import UserError
from framework.protocols import FieldMetric, Metric, Score, SharedMetric
from framework.streams import Streams
from framework.training.following import Writer
from framework.training.pictures import save_sheet
from framework.training.sampling import Draws, NetworkField, draw, field_of
from framework.training.settings import Evaluation
from framework.training.trainer import EVALUATION, Trainer


class Measured(NamedTuple):
    """A score of one block of samples."""

    score: Score
    nfe: int
    block: int


class Scorer:
    """Judges a trainer's weights as `evaluation.*` says: an average of them, unless told which.

    Processes share the drawing of samples and the features of a `SharedMetric`; all else is
    measured by the first one, which has all samples, and only there scores come out.
    """

    def __init__(
        self,
        settings: Evaluation,
        trainer: Trainer,
        weights: str = EVALUATION,
        world: World | None = None,
    ) -> None:
        train = trainer.settings
        self._world = trainer.world if world is None else world
        self._settings = settings
        self._trainer = trainer
        self._weights = weights
        self._network = trainer.network(weights)
        self._dataset = train.dataset
        self._draws = Draws(train.dataset, Streams(train.seed), trainer.device)
        self._weight = sampling_weight(settings, train.loss.guidance.weight)
        self._metrics: list[Metric] = []

    def measure(self) -> Iterator[Measured]:
        """Yield the scores of every NFE and block at the trainer's step."""
        for nfe in self._settings.nfe:
            for block in range(self._settings.blocks):
                latents, classes = self._draws.block(block, self._settings.samples)
                samples = self._sample(latents, classes, nfe)
                for score in self._scores(samples, classes):
                    yield Measured(score, nfe, block)
        with self._trainer.placement.whole(self._network):
            for block in range(self._settings.blocks):
                for score in self._field_scores(*self._draws.block(block, self._settings.samples)):
                    yield Measured(score, 1, block)

    def write(self, writer: Writer) -> dict[str, float]:
        """Record the scores at the trainer's step; return their means over the blocks by name."""
        values: dict[str, list[float]] = {}
        for measured in self.measure():
            self.record(writer, measured)
            short = measured.score.name.partition("@")[0]
            values.setdefault(f"{short}/nfe={measured.nfe}", []).append(measured.score.value)
        return {name: fmean(found) for name, found in values.items()}

    def write_pictures(self, writer: Writer, count: int, folder: Path | None = None) -> None:
        """Record pictures from fixed latents and classes at every NFE.

        With a folder they are also written there as `nfe=N.png`, a column a class.
        """
        if not count:
            return
        latents, classes = self._draws.pictures(count, self._dataset.num_classes)
        for nfe in self._settings.nfe:
            samples = self._sample(latents, classes, nfe)
            if not self._world.leads:
                continue
            images = self._dataset.images(samples.cpu()).numpy()
            writer.samples(self._trainer.step, nfe, images, classes.cpu().numpy())
            if folder is not None:
                columns = min(self._dataset.num_classes, count)
                save_sheet(folder / f"nfe={nfe}.png", images, columns)

    def _field_scores(self, latents: Tensor, classes: Tensor) -> list[Score]:
        """Ask the metrics that judge the flow itself, by one jump."""
        asking = [metric for metric in self._all_metrics() if isinstance(metric, FieldMetric)]
        if not asking:
            return []
        field, w = self._field(), torch.full_like(classes, self._weight, dtype=latents.dtype)
        return [s for metric in asking for s in metric.field_scores(field, latents, classes, w)]

    def _field(self) -> NetworkField:
        return field_of(self._network, self._trainer.settings, self._trainer.device)

    def _sample(self, latents: Tensor, classes: Tensor, nfe: int) -> Tensor:
        """Return the samples of all processes, each of which draws its rows."""
        settings, own = self._settings, self._rows(len(latents))
        with self._trainer.placement.whole(self._network):
            samples = draw(
                settings.sampler,
                self._field(),
                latents[own],
                classes[own],
                self._weight,
                nfe,
                settings.batch_size,
            )
        return self._world.gathered(samples)[: len(latents)]

    def _rows(self, total: int) -> Tensor | slice:
        """Return which of `total` rows are this process's; the last ones repeat the last row."""
        if self._world.size == 1:
            return slice(None)
        each = -(-total // self._world.size)
        first = self._world.rank * each
        return torch.arange(first, first + each).clamp_(max=total - 1)

    def _scores(self, samples: Tensor, classes: Tensor) -> list[Score]:
        scores: list[Score] = []
        for metric in self._all_metrics():
            if self._world.size > 1 and isinstance(metric, SharedMetric):
                own = metric.features(samples[self._rows(len(samples))])
                features = self._world.gathered(own)[: len(samples)]
                scores += metric.of_features(features) if self._world.leads else []
            else:
                scores += metric(samples, classes)
        return scores

    def _all_metrics(self) -> list[Metric]:
        """Return the metrics that this process has a part in."""
        if not self._metrics:  # a metric may train a classifier: only when first needed
            shared = [build for build in self._settings.metrics if hasattr(build, "of_features")]
            wanted = self._settings.metrics if self._world.leads else shared
            with refusals(()):
                self._metrics = [build(dataset=self._dataset) for build in wanted]
        return self._metrics

    def record(self, writer: Writer, measured: Measured) -> None:
        """Record a score with all that it was measured of."""
        score, nfe, block = measured
        writer.evaluation(
            self._trainer.step,
            score.name,
            score.value,
            direction=score.direction,
            nfe=nfe,
            w=self._weight,
            weights=self._weights,
            sampler=type(self._settings.sampler).__name__,
            time_grid="uniform",
            block=block,
            samples=self._settings.samples,
        )


def sampling_weight(settings: Evaluation, trained: float | None) -> float:
    """Return the guidance weight to sample with.

    Raises:
        UserError: neither the evaluation nor the loss's guidance names one.
    """
    weight = settings.weight if settings.weight is not None else trained
    if weight is None:
        raise UserError(
            "evaluation.weight is not set, and the loss trains with guidance weights that vary: "
            "say at which weight to sample, such as evaluation.weight = 2.0"
        )
    return weight
