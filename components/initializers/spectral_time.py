"""Spectral initialisation, time embeddings included."""

from __future__ import annotations

import torch
from torch import Tensor

from components.initializers.draws import fill_spectral
from components.initializers.spectral import Spectral
from framework import register
from framework.protocols import Role


@register.initializer("spectral_time")
class SpectralTime:
    """As `spectral`, with the embeddings of t, of the second time and of beta spectral too."""

    def __init__(self) -> None:
        self.others = Spectral()

    def __call__(self, weight: Tensor, role: Role, generator: torch.Generator) -> None:
        """Fill `weight` in place."""
        if role is Role.TIME_EMBEDDING:
            fill_spectral(weight, generator)
        else:
            self.others(weight, role, generator)
