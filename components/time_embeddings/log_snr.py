"""Sinusoidal features of the log signal-to-noise ratio."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.checks import positive, require
from components.time_embeddings.projection import Projection, cos_sin
from framework import register
from framework.settings import Positive, PositiveInt


@register.time_embedding("log_snr")
class LogSNR(nn.Module):
    """Cosines and sines of log((1 - t) / t), half the log-SNR of x_t = (1 - t) x0 + t x1.

    Kingma et al., "Variational Diffusion Models", 2021. At both ends the ratio is infinite: the
    time is first squeezed into [margin, 1 - margin], so that its derivative never vanishes.

    Args:
        hidden_size: size D of the embedding.
        features: how many cosines and sines there are together.
        max_period: longest period, in units of 2 pi.
        margin: distance from 0 and 1 that the squeezed time keeps.
    """

    def __init__(
        self,
        hidden_size: int,
        features: PositiveInt = 256,
        max_period: Positive = 10_000.0,
        margin: Positive = 1e-3,
    ) -> None:
        super().__init__()
        require(features % 2 == 0, f"features is {features}: cosines and sines need an even number")
        require(0 < margin < 0.5, f"margin is {margin}: it has to lie between 0 and 0.5")
        self.pairs, self.margin = features // 2, margin
        self.max_period = positive("max_period", max_period)
        self.projection = Projection(features, hidden_size)

    def forward(self, time: Tensor) -> Tensor:
        """Embed times (B,) as (B, D)."""
        squeezed = self.margin + (1 - 2 * self.margin) * time.double()
        log_ratio = torch.log1p(-squeezed) - squeezed.log()
        steps = torch.arange(self.pairs, dtype=torch.float64, device=time.device) / self.pairs
        frequencies = torch.exp(-math.log(self.max_period) * steps)
        embedded: Tensor = self.projection(cos_sin(log_ratio[:, None] * frequencies))
        return embedded
