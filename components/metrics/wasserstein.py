"""The exact Wasserstein distance, for points."""

from __future__ import annotations

from torch import Tensor

from components.checks import require
from components.metrics.transport import draws, exact_w2
from framework import register
from framework.protocols import Dataset, Score


@register.metric("wasserstein")
class Wasserstein:
    """W2 between samples and as many fresh examples: `w2`, beside `w2_floor`.

    `w2_floor` is W2 between two sets of examples of that size: what a perfect sampler would get on
    average. The cost grows with the third power of the number of samples.

    Args:
        dataset: of points (C,).
    """

    score_names = ("w2", "w2_floor")

    def __init__(self, dataset: Dataset) -> None:
        require(
            len(dataset.shape) == 1,
            f"metrics.wasserstein takes points, and {dataset.name} has examples of shape "
            f"{tuple(dataset.shape)}: metrics.sliced_wasserstein takes any",
        )
        self._dataset = dataset

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the distance of samples (M, C), and the floor; NaN if one is not finite."""
        count = len(samples)
        reference, other = (draws(self._dataset, count, stream) for stream in (0, 1))
        return [
            Score("w2", exact_w2(samples, reference), "lower"),
            Score("w2_floor", exact_w2(other, reference), "lower"),
        ]
