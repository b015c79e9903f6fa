"""One guidance weight for all samples."""

from __future__ import annotations

import torch
from torch import Tensor

from components.checks import positive, probability
from components.guidances.dropout import with_dropout
from framework import register
from framework.protocols import Conditions
from framework.settings import Positive, Probability


@register.guidance("constant")
class ConstantGuidance:
    """A constant guidance weight w; samples are drawn with the same one.

    Args:
        weight: the guidance weight w.
        label_dropout: probability that a label is dropped (Table 6: 0.1).
    """

    def __init__(self, weight: Positive = 2.0, label_dropout: Probability = 0.1) -> None:
        self.weight: float | None = positive("weight", weight)
        self.value = float(weight)
        self.label_dropout = probability("label_dropout", label_dropout)

    def __call__(self, labels: Tensor, empty_class: int, u: Tensor) -> Conditions:
        """Return the conditions of labels (B,) from uniforms (B, 2)."""
        weights = torch.full_like(u[:, 0], self.value)
        return with_dropout(labels, weights, empty_class, u[:, 1], self.label_dropout)
