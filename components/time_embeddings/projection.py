"""The two layers that turn time features into a vector of the hidden size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Projection(nn.Module):
    """Linear-SiLU-Linear from features (B, F) in any precision to (B, D)."""

    def __init__(self, features: int, hidden_size: int) -> None:
        super().__init__()
        self.inward = nn.Linear(features, hidden_size)
        self.outward = nn.Linear(hidden_size, hidden_size)

    def forward(self, features: Tensor) -> Tensor:
        """Project features, cast to the precision of the weights."""
        hidden = self.inward(features.to(self.inward.weight.dtype))
        projected: Tensor = self.outward(nn.functional.silu(hidden))
        return projected


def cos_sin(angles: Tensor) -> Tensor:
    """Return cosines, then sines, of angles (B, F/2) in float64 as (B, F).

    A cosine is the sine of a quarter turn more: to compile each of the two takes a second.
    """
    return torch.cat([angles + math.pi / 2, angles], dim=-1).sin()
