"""Modulation as it is: the original DiT's."""

from __future__ import annotations

from torch import Tensor, nn

from framework import register


@register.modulation_norm("none")
class NoModulationNorm(nn.Module):
    """Modulation vectors as the linear layer gives them, as in the original DiT."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vector: Tensor) -> Tensor:
        """Return the vector (..., dim)."""
        return vector
