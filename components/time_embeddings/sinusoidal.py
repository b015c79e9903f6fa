"""Sinusoidal time features, as in the paper's released code."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.checks import positive, require
from components.time_embeddings.projection import Projection, cos_sin
from framework import register
from framework.settings import Positive, PositiveInt


@register.time_embedding("sinusoidal")
class Sinusoidal(nn.Module):
    """Cosines and sines of the time at geometric frequencies, then Linear-SiLU-Linear.

    The time in [0, 1] enters as it is, where the original DiT multiplies it by 1000; the features
    are computed in float64 [release].

    Args:
        hidden_size: size D of the embedding.
        features: how many cosines and sines there are together.
        max_period: longest period, in units of 2 pi.
    """

    def __init__(
        self, hidden_size: int, features: PositiveInt = 256, max_period: Positive = 10_000.0
    ) -> None:
        super().__init__()
        require(features % 2 == 0, f"features is {features}: cosines and sines need an even number")
        self.pairs = features // 2
        self.max_period = positive("max_period", max_period)
        self.projection = Projection(features, hidden_size)

    def forward(self, time: Tensor) -> Tensor:
        """Embed times (B,) as (B, D)."""
        steps = torch.arange(self.pairs, dtype=torch.float64, device=time.device) / self.pairs
        frequencies = torch.exp(-math.log(self.max_period) * steps)
        embedded: Tensor = self.projection(cos_sin(time.double()[:, None] * frequencies))
        return embedded
