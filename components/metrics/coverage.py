"""How faithful and how varied samples are."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from components.checks import at_least
from components.metrics.cache import PAIRS, Judge
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
        self.least_samples = self._neighbours + 1
        self._judge = Judge(dataset, cache)

    @cached_property
    def _real(self) -> tuple[Tensor, Tensor]:
        """The training set's features (N, F) in float64, and how far each of them reaches (N,)."""
        features = self._judge.training_features().double()
        return features, reach(features, self._neighbours)

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the four shares of samples (M, C, H, W), M above k; NaN if one is not finite."""
        features = self._judge.features(samples)
        if bool(features.isfinite().all()):
            real, limits = self._real
            values = shares(real, features, self._neighbours, limits)
        else:
            values = dict.fromkeys(("precision", "recall", "density", "coverage"), math.nan)
        k = f"neighbours={self._neighbours}"
        return [
            Score(f"{self._judge.name(name)}-{k}", value, "higher")
            for name, value in values.items()
        ]


def shares(
    real: Tensor, fake: Tensor, neighbours: int, limits: Tensor | None = None
) -> dict[str, float]:
    """Return precision, recall, density and coverage of features (M, F) against real (N, F).

    Args:
        real: what is compared with.
        fake: what is judged.
        neighbours: k.
        limits: `reach(real, k)` (N,), where it is known already.

    Raises:
        ValueError: there are not more samples than neighbours.
    """
    real, fake = real.double(), fake.double()
    limits = reach(real, neighbours) if limits is None else limits
    reach_fake = reach(fake, neighbours)
    around = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    recalled = covered = 0
    rows = max(1, PAIRS // len(fake))
    for part, within in zip(real.split(rows), limits.split(rows), strict=True):
        apart = torch.cdist(part, fake)  # (rows, M)
        near_real = apart <= within[:, None]
        around += near_real.sum(dim=0)
        covered += int(near_real.any(dim=1).sum())
        recalled += int((apart <= reach_fake).any(dim=1).sum())
    return {
        "precision": float((around > 0).double().mean()),
        "recall": recalled / len(real),
        "density": float(around.double().mean() / neighbours),
        "coverage": covered / len(real),
    }


def reach(x: Tensor, k: int) -> Tensor:
    """Return the distance of each point of x (M, F) from its k-th nearest other, (M,).

    Raises:
        ValueError: there are no k others.
    """
    if len(x) <= k:
        raise ValueError(f"{len(x)} samples: more than {k} neighbours are needed")
    parts = x.split(max(1, PAIRS // len(x)))
    # The nearest is the point itself.
    return torch.cat([torch.cdist(part, x).kthvalue(k + 1, dim=1).values for part in parts])
