"""The Fréchet distance of samples from the training set."""

from __future__ import annotations

from torch import Tensor

from components.metrics.cache import classifier_of, images_only
from components.metrics.classifier import in_batches, training_images
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

    fits = staticmethod(images_only)

    def __init__(self, dataset: Dataset, cache: LocalPath | None = None) -> None:
        self._classifier = classifier_of(dataset, cache)
        self._name = f"fd@{dataset.name}-{self._classifier.weights_hash()}"
        self._reference = self._statistics(training_images(dataset))

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the distance of samples (M, C, H, W); NaN if one of them is not finite."""
        value = frechet_distance(self._statistics(samples), self._reference)
        return [Score(self._name, value, "lower")]

    def _statistics(self, images: Tensor) -> Gaussian:
        return Gaussian.of(in_batches(self._classifier.features, images))
