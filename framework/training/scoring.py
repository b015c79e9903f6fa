"""Scores and pictures of a run's evaluation weights."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from framework.answers import scores_of, twice
from framework.configuration.building import refusals
from framework.distribution import World
from framework.errors import UserError
from framework.passes import Passes
from framework.protocols import FieldMetric, Metric, Score, SharedMetric
from framework.registry import name_of
from framework.results.names import plain_metric
from framework.streams import Streams
from framework.training.following import Writer
from framework.training.pictures import save_sheet
from framework.training.sampling import Draws, NetworkField, draw, field_of
from framework.training.settings import Evaluation
from framework.training.trainer import Trainer
from framework.training.weights import EVALUATION


class Measured(NamedTuple):
    """A score of one block of samples; without `nfe` where the sampler chose it."""

    score: Score
    nfe: int | None
    block: int
    w: float


class Scorer:
    """Judges a trainer's weights as `evaluation.*` says: an average of them, unless told which.

    Processes share the drawing of samples and the features of a `SharedMetric`; all else is
    measured by the first one, which has all samples, and only there scores come out. Samples are
    drawn by `passes`, those of `compilation.sampling_passes` or plain ones.
    """

    def __init__(
        self,
        settings: Evaluation,
        trainer: Trainer,
        weights: str = EVALUATION,
        world: World | None = None,
        passes: Passes | None = None,
    ) -> None:
        train = trainer.settings
        self._passes = passes or Passes()
        self._world = trainer.world if world is None else world
        self._settings = settings
        self._trainer = trainer
        self._weights = weights
        self._dataset = train.dataset
        self._draws = Draws(train.dataset, Streams(train.seed), trainer.device)
        self._ws = sampling_weights(settings, train.loss.guidance.weight)
        self._metrics: list[_Judge] = []

    def measure(self) -> Iterator[Measured]:
        """Yield the scores of every guidance weight, NFE and block at the trainer's step.

        Raises:
            UserError: a metric returns something else than scores, or two return one score.
        """
        owners: dict[tuple[str, int | None, int, float], str] = {}
        for owner, measured in self._measure():
            what = measured.score.name, measured.nfe, measured.block, measured.w
            if what in owners:
                raise UserError(twice(owners[what], owner, measured.score.name))
            owners[what] = owner
            yield measured

    def _measure(self) -> Iterator[tuple[str, Measured]]:
        """Yield each score with the name of the metric that it comes from."""
        blocks = range(self._settings.blocks)
        for w in self._ws:
            for nfe, block in itertools.product(self._settings.counts, blocks):
                for owner, score in self._block_scores(w, nfe, block):
                    yield owner, Measured(score, nfe, block, w)
            with self._whole():
                for block in blocks:
                    for owner, score in self._field_scores(w, block):
                        yield owner, Measured(score, 1, block, w)

    def _block_scores(self, w: float, nfe: int | None, block: int) -> Iterator[tuple[str, Score]]:
        """Yield the scores of one block of samples, and what they cost where that is open."""
        latents, classes = self._draws.block(block, self._settings.samples)
        drawn = self._sample(latents, classes, w, nfe)
        yield from self._scores(drawn.samples, classes)
        if nfe is None and self._world.leads:
            yield "the sampler", Score("nfe", drawn.evaluations, "lower")

    def write(self, writer: Writer) -> dict[str, float]:
        """Record the scores at the trainer's step; return their means over the blocks by name."""
        values: dict[tuple[str, int | None, float], list[float]] = {}
        for measured in self.measure():
            self.record(writer, measured)
            what = measured.score.name, measured.nfe, measured.w
            values.setdefault(what, []).append(measured.score.value)
        plain = Counter(plain_metric(name) for name in {name for name, *_ in values})
        return {
            self._shown(name if plain[plain_metric(name)] > 1 else plain_metric(name), nfe, w): mean
            for (name, nfe, w), mean in ((what, fmean(found)) for what, found in values.items())
        }

    def _shown(self, name: str, nfe: int | None, w: float) -> str:
        """Return what a score is called in the log; the first guidance weight goes without."""
        parts = [name]
        if nfe is not None:
            parts.append(f"nfe={nfe}")
        if w != self._ws[0]:
            parts.append(f"w={w:g}")
        return "/".join(parts)

    def write_pictures(self, writer: Writer, count: int, folder: Path | None = None) -> None:
        """Record pictures from fixed latents and classes at every NFE and the first weight.

        With a folder they are also written there as `nfe=N.png`, a column a class.
        """
        if not count:
            return
        latents, classes = self._draws.pictures(count, self._dataset.num_classes)
        for asked in self._settings.counts:
            drawn = self._sample(latents, classes, self._ws[0], asked)
            if not self._world.leads:
                continue
            nfe = round(drawn.evaluations)
            images = self._dataset.images(drawn.samples.cpu()).numpy()
            writer.samples(self._trainer.step, nfe, images, classes.cpu().numpy())
            if folder is not None:
                columns = min(self._dataset.num_classes, count)
                save_sheet(folder / f"nfe={nfe}.png", images, columns)

    def _field_scores(self, w: float, block: int) -> Iterator[tuple[str, Score]]:
        """Ask the metrics that judge the flow itself, by one jump."""
        asking = [
            (j.name, j.metric) for j in self._all_metrics() if isinstance(j.metric, FieldMetric)
        ]
        if not asking:
            return
        latents, classes = self._draws.block(block, self._settings.samples)
        field, ws = self._field(Passes()), torch.full_like(classes, w, dtype=latents.dtype)
        for name, metric in asking:
            for score in scores_of(name, metric.field_scores(field, latents, classes, ws)):
                yield name, score

    def _field(self, passes: Passes) -> NetworkField:
        network = self._trainer.network(self._weights)
        return field_of(network, self._trainer.settings, self._trainer.device, passes)

    def _sample(self, latents: Tensor, classes: Tensor, w: float, nfe: int | None) -> _Drawn:
        """Return the samples of all processes, each of which draws its rows."""
        settings, own = self._settings, self._rows(len(latents))
        z, c = latents[own], classes[own]
        with self._whole():
            field = self._field(self._passes)
            samples = draw(settings.sampler, field, z, c, w, nfe, settings.batch_size)
        evaluated = sum(self._world.everyones(field.evaluated))
        everyones = self._world.gathered(samples)
        return _Drawn(everyones[: len(latents)], evaluated / len(everyones))

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Hold the network whole, if it lies in shards, and as it is when it does not train."""
        network = self._trainer.network(self._weights)
        trains = network.training
        network.eval()
        try:
            with self._trainer.placement.whole(network):
                yield
        finally:
            network.train(trains)

    def _rows(self, total: int) -> Tensor | slice:
        """Return which of `total` rows are this process's; the last ones repeat the last row."""
        if self._world.size == 1:
            return slice(None)
        each = -(-total // self._world.size)
        first = self._world.rank * each
        return torch.arange(first, first + each).clamp_(max=total - 1)

    def _scores(self, samples: Tensor, classes: Tensor) -> Iterator[tuple[str, Score]]:
        for name, metric, shared in self._all_metrics():
            if shared and isinstance(metric, SharedMetric):
                own = metric.features(samples[self._rows(len(samples))])
                features = self._world.gathered(own)[: len(samples)]
                found = metric.of_features(features) if self._world.leads else []
            else:
                found = metric(samples, classes)
            for score in scores_of(name, found):
                yield name, score

    def _all_metrics(self) -> list[_Judge]:
        """Return the metrics that this process has a part in.

        Which are shared all processes have to see alike, before any is built: by the class.
        """
        if not self._metrics:  # a metric may train a classifier: only when first needed
            several = self._world.size > 1
            with refusals(()):
                for build in self._settings.metrics:
                    shared = several and hasattr(build, "of_features")
                    if shared or self._world.leads:
                        metric = build(dataset=self._dataset)
                        self._metrics.append(_Judge(name_of(build), metric, shared))
        return self._metrics

    def record(self, writer: Writer, measured: Measured) -> None:
        """Record a score with all that it was measured of."""
        score, nfe, block, w = measured
        sampler = self._settings.sampler
        writer.evaluation(
            self._trainer.step,
            score.name,
            score.value,
            direction=score.direction,
            nfe=nfe,
            w=w,
            weights=self._weights,
            sampler=type(sampler).__name__,
            time_grid=getattr(sampler, "time_grid", ""),
            block=block,
            samples=self._settings.samples,
        )


class _Judge(NamedTuple):
    """A metric with its component's name, and whether all processes have a part in it."""

    name: str
    metric: Metric
    shared: bool


class _Drawn(NamedTuple):
    """Samples (M, ...) and the network evaluations that one took, on average."""

    samples: Tensor
    evaluations: float


def sampling_weights(settings: Evaluation, trained: float | None) -> tuple[float, ...]:
    """Return the guidance weights to sample with.

    Raises:
        UserError: neither the evaluation nor the loss's guidance names one.
    """
    weight = settings.weight if settings.weight is not None else trained
    if weight is None or weight == ():
        raise UserError(
            "evaluation.weight is not set, and the loss trains with guidance weights that vary: "
            "say at which weight to sample, such as evaluation.weight = 2.0"
        )
    return weight if isinstance(weight, tuple) else (weight,)
