"""Random guidance over all weights from 1 up."""

from __future__ import annotations

from torch import Tensor

from components.checks import probability
from components.guidances.dropout import with_dropout
from framework import register
from framework.protocols import Conditions
from framework.settings import Probability


@register.guidance("uniform_beta")
class UniformBeta:
    """beta ~ U(0, 1) and w = 1/beta: what the released code draws without bounds.

    Args:
        label_dropout: probability that a label is dropped.
    """

    def __init__(self, label_dropout: Probability = 0.1) -> None:
        self.weight: float | None = None
        self.label_dropout = probability("label_dropout", label_dropout)

    def __call__(self, labels: Tensor, empty_class: int, u: Tensor) -> Conditions:
        """Return the conditions of labels (B,) from uniforms (B, 2)."""
        beta = u[:, 0].clamp(min=2.0**-24)  # the least that a float32 uniform would draw
        return with_dropout(labels, beta.reciprocal(), empty_class, u[:, 1], self.label_dropout)
