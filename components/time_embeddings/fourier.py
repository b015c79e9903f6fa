"""Random Fourier features of the time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.checks import positive, require
from components.time_embeddings.projection import Projection, cos_sin
from framework import register
from framework.settings import NonNegativeInt, Positive, PositiveInt


@register.time_embedding("fourier")
class Fourier(nn.Module):
    """Cosines and sines of the time at fixed frequencies drawn from N(0, scale²).

    Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions", 2020.

    Args:
        hidden_size: size D of the embedding.
        features: how many cosines and sines there are together.
        scale: standard deviation of the frequencies, in periods per unit of time.
        frequency_seed: seed of the frequencies: they are part of the architecture and so the same
            in every run.
    """

    def __init__(
        self,
        hidden_size: int,
        features: PositiveInt = 256,
        scale: Positive = 1.0,
        frequency_seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        require(features % 2 == 0, f"features is {features}: cosines and sines need an even number")
        generator = torch.Generator().manual_seed(frequency_seed)
        draws = torch.randn(features // 2, generator=generator, dtype=torch.float64, device="cpu")
        self.register_buffer("frequencies", draws * positive("scale", scale), persistent=False)
        self.projection = Projection(features, hidden_size)

    def forward(self, time: Tensor) -> Tensor:
        """Embed times (B,) as (B, D)."""
        frequencies = self.get_buffer("frequencies").double()
        angles = 2 * math.pi * time.double()[:, None] * frequencies
        embedded: Tensor = self.projection(cos_sin(angles))
        return embedded
