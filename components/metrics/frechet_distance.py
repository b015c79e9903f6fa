"""The Fréchet distance of samples from the training set."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from components.metrics.cache import Judge
from components.metrics.statistics import Gaussian, frechet_distance
from framework import register
from framework.protocols import Dataset, Score
from framework.settings import LocalPath


@register.metric("frechet_distance")
class FrechetDistance:
    """The Fréchet distance between features of samples and of the whole training set: `fd`.

    As FID (Heusel et al., 2017), with the features of a small classifier trained on the same set.
    Values compare within one hash and one number of samples only.

    Args:
        dataset: what is compared with.
        cache: folder of the trained classifier; the platform's cache folder without one.
    """

    score_names = ("fd",)
    least_samples = 2  # for a covariance

    def __init__(self, dataset: Dataset, cache: LocalPath | None = None) -> None:
        self._judge = Judge(dataset, cache)

    @cached_property
    def _reference(self) -> Gaussian:
        return Gaussian.of(self._judge.training_features())

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the distance of samples (M, C, H, W); NaN if one of them is not finite."""
        value = frechet_distance(Gaussian.of(self._judge.features(samples)), self._reference)
        return [Score(self._judge.name("fd"), value, "lower")]
