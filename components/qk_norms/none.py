"""Queries and keys as they are."""

from __future__ import annotations

from torch import Tensor, nn

from framework import register


@register.qk_norm("none")
class NoQKNorm(nn.Module):
    """Queries and keys as the linear layer gives them, as in the original DiT."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., dim)."""
        return x
