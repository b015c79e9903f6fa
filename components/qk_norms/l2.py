"""L2 normalisation of queries and keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.checks import positive
from components.precision import rms_normalised
from framework import register
from framework.settings import Positive


@register.qk_norm("l2")
class L2(nn.Module):
    """Vectors of unit length times a learnable positive factor: cosine attention.

    The factor sqrt(tau sqrt(d)), with its own tau for queries and keys, gives logits proportional
    to cos(q, k) (Henry et al., "Query-Key Normalization for Transformers", 2020); tau is learned
    as its logarithm.

    Args:
        dim: head size d.
        temperature: initial tau.
        eps: added to the mean square inside the root.
    """

    def __init__(self, dim: int, temperature: Positive = 10.0, eps: Positive = 1e-6) -> None:
        super().__init__()
        self.dim, self.eps = dim, positive("eps", eps)
        self.initial = math.log(positive("temperature", temperature))
        self.log_temperature = nn.Parameter(torch.full((1,), self.initial))

    def reset_parameters(self) -> None:
        """Set the temperature to its initial value."""
        nn.init.constant_(self.log_temperature, self.initial)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim)."""
        unit = rms_normalised(x, self.eps) / math.sqrt(self.dim)
        factor = torch.exp(self.log_temperature / 2) * self.dim**0.25
        scaled: Tensor = unit * factor
        return scaled.to(x.dtype)
