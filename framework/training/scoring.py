"""Scores and pictures of a run's evaluation weights."""

from __future__ import annotations

from functools import partial
from statistics import fmean

import torch
from torch import Tensor

from framework.errors import UserError
from framework.passes import Passes
from framework.protocols import FieldMetric, Metric, Score
from framework.results import RunWriter
from framework.streams import Streams
from framework.training.precision import autocast
from framework.training.sampling import Draws, NetworkField, draw
from framework.training.settings import Evaluation
from framework.training.trainer import EVALUATION, Trainer


class Scorer:
    """Judges a trainer's averaged weights as `evaluation.*` says."""

    def __init__(self, settings: Evaluation, trainer: Trainer) -> None:
        train = trainer.settings
        self._settings = settings
        self._trainer = trainer
        self._dataset = train.dataset
        self._draws = Draws(train.dataset, Streams(train.seed), trainer.device)
        self._weight = sampling_weight(settings, train.loss.guidance.weight)
        self._metrics: list[Metric] = []

    def write(self, writer: RunWriter) -> dict[str, float]:
        """Record the scores at the trainer's step; return their means over the blocks by name."""
        values: dict[str, list[float]] = {}
        for nfe in self._settings.nfe:
            for block in range(self._settings.blocks):
                latents, classes = self._draws.block(block, self._settings.samples)
                samples = self._sample(latents, classes, nfe)
                for score in self._scores(samples, classes):
                    self._write_score(writer, score, nfe, block)
                    short = score.name.partition("@")[0]
                    values.setdefault(f"{short}/nfe={nfe}", []).append(score.value)
        for block in range(self._settings.blocks):
            for score in self._field_scores(*self._draws.block(block, self._settings.samples)):
                self._write_score(writer, score, 1, block)
                values.setdefault(f"{score.name}/nfe=1", []).append(score.value)
        return {name: fmean(found) for name, found in values.items()}

    def write_pictures(self, writer: RunWriter, count: int) -> None:
        """Record pictures from fixed latents and classes at every NFE."""
        if not count:
            return
        latents, classes = self._draws.pictures(count, self._dataset.num_classes)
        for nfe in self._settings.nfe:
            samples = self._sample(latents, classes, nfe)
            images = self._dataset.images(samples.cpu())
            writer.samples(self._trainer.step, nfe, images.numpy(), classes.cpu().numpy())

    def _field_scores(self, latents: Tensor, classes: Tensor) -> list[Score]:
        """Ask the metrics that judge the flow itself, by one jump."""
        asking = [metric for metric in self._all_metrics() if isinstance(metric, FieldMetric)]
        if not asking:
            return []
        field, w = self._field(), torch.full_like(classes, self._weight, dtype=latents.dtype)
        return [s for metric in asking for s in metric.field_scores(field, latents, classes, w)]

    def _field(self) -> NetworkField:
        trainer = self._trainer
        return NetworkField(
            trainer.averages.networks[EVALUATION],
            trainer.settings.loss.flow_map,
            Passes(),
            partial(autocast, trainer.settings.precision, trainer.device),
            self._dataset.num_classes,
        )

    def _sample(self, latents: Tensor, classes: Tensor, nfe: int) -> Tensor:
        settings = self._settings
        return draw(
            settings.sampler,
            self._field(),
            latents,
            classes,
            self._weight,
            nfe,
            settings.batch_size,
        )

    def _scores(self, samples: Tensor, classes: Tensor) -> list[Score]:
        return [score for metric in self._all_metrics() for score in metric(samples, classes)]

    def _all_metrics(self) -> list[Metric]:
        if not self._metrics:  # a metric may train a classifier: only when first needed
            self._metrics = [build(dataset=self._dataset) for build in self._settings.metrics]
        return self._metrics

    def _write_score(self, writer: RunWriter, score: Score, nfe: int, block: int) -> None:
        writer.evaluation(
            self._trainer.step,
            score.name,
            score.value,
            direction=score.direction,
            nfe=nfe,
            w=self._weight,
            weights=EVALUATION,
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
