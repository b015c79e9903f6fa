"""No normalisation of tokens."""

from __future__ import annotations

from torch import Tensor, nn

from framework import register


@register.normalization("none")
class NoNormalization(nn.Module):
    """Tokens as they are: what normalisation is compared with."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., dim)."""
        return x
