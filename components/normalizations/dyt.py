"""Dynamic tanh instead of a normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.checks import positive
from framework import register
from framework.settings import Positive


@register.normalization("dyt")
class DynamicTanh(nn.Module):
    """scale * tanh(alpha x) + bias: no statistics, and Lipschitz with constant alpha max|scale|.

    Zhu et al., "Transformers without Normalization", 2025.

    Args:
        dim: size of the last axis.
        alpha: initial slope.
    """

    def __init__(self, dim: int, alpha: Positive = 0.5) -> None:
        super().__init__()
        self.initial_alpha = positive("alpha", alpha)
        self.alpha = nn.Parameter(torch.full((1,), alpha))
        self.scale = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def reset_parameters(self) -> None:
        """Set alpha to its initial value, the scale to one and the bias to zero."""
        nn.init.constant_(self.alpha, self.initial_alpha)
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Squash (..., dim)."""
        return (self.scale * torch.tanh(self.alpha * x) + self.bias).to(x.dtype)
