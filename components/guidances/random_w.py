"""Random guidance, uniform in the weight."""

from __future__ import annotations

from torch import Tensor

from components.checks import positive, probability, require
from components.guidances.dropout import with_dropout
from framework import register
from framework.protocols import Conditions
from framework.settings import Positive, Probability


@register.guidance("random_w")
class RandomW:
    """w ~ U(w_min, w_max): what the released code draws when it is given bounds.

    Args:
        w_min: smallest weight.
        w_max: largest weight.
        label_dropout: probability that a label is dropped.
    """

    def __init__(
        self, w_min: Positive = 1.0, w_max: Positive = 2.0, label_dropout: Probability = 0.1
    ) -> None:
        self.weight: float | None = None
        self.w_min, self.w_max = positive("w_min", w_min), positive("w_max", w_max)
        require(w_min <= w_max, f"w_min is {w_min}: it has to be at most w_max ({w_max})")
        self.label_dropout = probability("label_dropout", label_dropout)

    def __call__(self, labels: Tensor, empty_class: int, u: Tensor) -> Conditions:
        """Return the conditions of labels (B,) from uniforms (B, 2)."""
        weights = self.w_min + (self.w_max - self.w_min) * u[:, 0]
        return with_dropout(labels, weights, empty_class, u[:, 1], self.label_dropout)
