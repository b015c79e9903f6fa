"""The sliced Wasserstein distance, for anything."""

from __future__ import annotations

from torch import Tensor

from components.checks import at_least
from components.metrics.transport import draws, sliced_w2
from framework import register
from framework.protocols import Dataset, Score
from framework.settings import PositiveInt


@register.metric("sliced_wasserstein")
class SlicedWasserstein:
    """W2 along random directions between samples and as many examples: `sliced_w2`.

    Bonneel et al., "Sliced and Radon Wasserstein Barycenters of Measures", 2015. Values compare
    within one number of directions only, which the score carries: `sliced_w2@directions=256`.

    Args:
        dataset: what is compared with.
        directions: number of directions, the same in every run.
    """

    score_names = ("sliced_w2",)

    def __init__(self, dataset: Dataset, directions: PositiveInt = 256) -> None:
        self._dataset = dataset
        self._directions = int(at_least("directions", directions, 1))

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the distance of samples (M, ...); NaN if one of them is not finite."""
        reference = draws(self._dataset, len(samples))
        name = f"sliced_w2@directions={self._directions}"
        return [Score(name, sliced_w2(samples, reference, self._directions), "lower")]
