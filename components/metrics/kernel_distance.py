"""The kernel distance of samples from the training set."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from components.metrics.cache import PAIRS, Judge
from framework import register
from framework.protocols import Dataset, Score
from framework.settings import LocalPath


def squared_mmd(a: Tensor, b: Tensor, within_b: Tensor | None = None) -> float:
    """Return the unbiased squared MMD of features a (M, F), b (N, F), kernel (a.b / F + 1)³.

    Args:
        a: what is judged.
        b: what it is compared with.
        within_b: `within(b)`, where it is known already.
    """
    a, b = a.double(), b.double()
    within_b = within(b) if within_b is None else within_b
    return float(within(a) + within_b - 2 * _total(a, b) / (len(a) * len(b)))


def within(x: Tensor) -> Tensor:
    """Return the mean of the kernel over all pairs of two different points."""
    own = (x.square().sum(dim=1) / x.shape[1] + 1) ** 3
    return (_total(x, x) - own.sum()) / (len(x) * (len(x) - 1))


def _total(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of the kernel over all pairs, some rows at a time."""
    parts = a.split(max(1, PAIRS // len(b)))
    return torch.stack([((part @ b.T / b.shape[1] + 1) ** 3).sum() for part in parts]).sum()


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
    least_samples = 2  # for a pair

    def __init__(self, dataset: Dataset, cache: LocalPath | None = None) -> None:
        self._judge = Judge(dataset, cache)

    @cached_property
    def _reference(self) -> tuple[Tensor, Tensor]:
        """The training set's features (N, F) in float64, and the kernel's mean within them."""
        features = self._judge.training_features().double()
        return features, within(features)

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the distance of samples (M, C, H, W); NaN if one of them is not finite."""
        features = self._judge.features(samples)
        finite = bool(features.isfinite().all())
        value = squared_mmd(features, *self._reference) if finite else math.nan
        return [Score(self._judge.name("kd"), value, "lower")]
