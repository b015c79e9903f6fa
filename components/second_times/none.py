"""No second time: one-time networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from framework import register
from framework.protocols import TimeEmbedding


@register.second_time("none")
class Nothing(nn.Module):
    """Nothing of s: a one-time network, which has a velocity but no flow map of its own."""

    def __init__(self, embedding: Callable[[], TimeEmbedding]) -> None:
        super().__init__()

    def forward(self, t: Tensor, s: Tensor) -> Tensor:
        """Return zeros (B, 1), which add nothing to a condition (B, D)."""
        return torch.zeros_like(s)[:, None]
