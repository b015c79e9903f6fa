"""No guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from components.checks import probability
from components.guidances.dropout import with_dropout
from framework import register
from framework.protocols import Conditions
from framework.settings import Probability


@register.guidance("none")
class NoGuidance:
    """The weight 1 for every sample: targets are the data's own velocities.

    Args:
        label_dropout: probability that a label is dropped, for guidance while sampling.
    """

    def __init__(self, label_dropout: Probability = 0.1) -> None:
        self.weight: float | None = 1.0
        self.label_dropout = probability("label_dropout", label_dropout)

    def __call__(self, labels: Tensor, empty_class: int, u: Tensor) -> Conditions:
        """Return the conditions of labels (B,) from uniforms (B, 2)."""
        weights = torch.ones_like(u[:, 0])
        return with_dropout(labels, weights, empty_class, u[:, 1], self.label_dropout)
