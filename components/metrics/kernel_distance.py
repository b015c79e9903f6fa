"""The kernel distance of samples from the training set."""

from __future__ import annotations

import math

from torch import Tensor

from components.metrics.cache import classifier_of, images_only
from components.metrics.classifier import in_batches, training_images
from framework import register
from framework.protocols import Dataset, Score


def squared_mmd(a: Tensor, b: Tensor) -> float:
    """Return the unbiased squared MMD of features a (M, F), b (N, F), kernel (a.b / F + 1)³."""
    a, b = a.double(), b.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        values = kernel(x, x)
        return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


@register.metric("kernel_distance")
class KernelDistance:
    """The squared maximum mean discrepancy of features from the whole training set's: `kd`.

    As KID (Bińkowski et al., "Demystifying MMD GANs", 2018), with the features of the dataset's
    small classifier and without splitting into subsets. Unbiased: it can fall below 0.

    Args:
        dataset: what is compared with.
        cache: folder of the trained classifier; the platform's cache folder without one.
    """

    fits = staticmethod(images_only)

    def __init__(self, dataset: Dataset, cache: str | None = None) -> None:
        self._classifier = classifier_of(dataset, cache)
        self._name = f"kd@{dataset.name}-{self._classifier.weights_hash()}"
        self._reference = self._features(training_images(dataset))

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the distance of samples (M, C, H, W); NaN if one of them is not finite."""
        features = self._features(samples)
        finite = bool(features.isfinite().all())
        value = squared_mmd(features, self._reference) if finite else math.nan
        return [Score(self._name, value, "lower")]

    def _features(self, images: Tensor) -> Tensor:
        return in_batches(self._classifier.features, images)
