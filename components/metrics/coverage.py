"""How faithful and how varied samples are."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from components.checks import at_least
from components.metrics.cache import Judge
from framework import register
from framework.protocols import Dataset, Score
from framework.settings import LocalPath, PositiveInt


@register.metric("coverage")
class Coverage:
    """Four shares from the nearest neighbours of features, training set against samples.

    `precision`, `recall` (Kynkäänniemi et al., 2019): samples within a real point's neighbourhood,
    real points within a sample's. `density`, `coverage` (Naeem et al., 2020): how many real
    neighbourhoods hold a sample, on average over k, and real neighbourhoods that hold one. A
    neighbourhood reaches to the k-th nearest of the same kind.

    Args:
        dataset: what is compared with.
        neighbours: k.
        cache: folder of the trained classifier; the platform's cache folder without one.
    """

    score_names = ("precision", "recall", "density", "coverage")

    def __init__(
        self, dataset: Dataset, neighbours: PositiveInt = 5, cache: LocalPath | None = None
    ) -> None:
        self._neighbours = int(at_least("neighbours", neighbours, 1))
        self._judge = Judge(dataset, cache)

    @cached_property
    def _real(self) -> Tensor:
        return self._judge.training_features()

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the four shares of samples (M, C, H, W), M above k; NaN if one is not finite."""
        features = self._judge.features(samples)
        if bool(features.isfinite().all()):
            values = shares(self._real, features, self._neighbours)
        else:
            values = dict.fromkeys(("precision", "recall", "density", "coverage"), math.nan)
        k = f"neighbours={self._neighbours}"
        return [
            Score(f"{self._judge.name(name)}-{k}", value, "higher")
            for name, value in values.items()
        ]


def shares(real: Tensor, fake: Tensor, neighbours: int) -> dict[str, float]:
    """Return precision, recall, density and coverage of features (M, F) against real (N, F).

    Raises:
        ValueError: there are not more samples than neighbours.
    """
    if min(len(real), len(fake)) <= neighbours:
        raise ValueError(f"{len(fake)} samples: more than {neighbours} neighbours are needed")
    real, fake = real.double(), fake.double()
    apart = torch.cdist(real, fake)  # (N, M)
    reach_real = _reach(real, neighbours)[:, None]
    reach_fake = _reach(fake, neighbours)[None, :]
    near_real = apart <= reach_real
    return {
        "precision": float(near_real.any(dim=0).double().mean()),
        "recall": float((apart <= reach_fake).any(dim=1).double().mean()),
        "density": float(near_real.double().sum(dim=0).mean() / neighbours),
        "coverage": float((apart.min(dim=1, keepdim=True).values <= reach_real).double().mean()),
    }


def _reach(x: Tensor, neighbours: int) -> Tensor:
    """Return each point's distance from its k-th nearest other, (M,)."""
    distances = torch.cdist(x, x)
    return distances.kthvalue(neighbours + 1, dim=1).values  # the nearest is the point itself
