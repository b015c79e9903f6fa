"""The kernel distance of samples from the training set."""

from __future__ import annotations

import math
from functools import cached_property

from torch import Tensor

from components.metrics.cache import Judge
from framework import register
from framework.protocols import Dataset, Score
from framework.settings import LocalPath


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

    score_names = ("kd",)

    def __init__(self, dataset: Dataset, cache: LocalPath | None = None) -> None:
        self._judge = Judge(dataset, cache)

    @cached_property
    def _reference(self) -> Tensor:
        return self._judge.training_features()

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the distance of samples (M, C, H, W); NaN if one of them is not finite."""
        features = self._judge.features(samples)
        finite = bool(features.isfinite().all())
        value = squared_mmd(features, self._reference) if finite else math.nan
        return [Score(self._judge.name("kd"), value, "lower")]
