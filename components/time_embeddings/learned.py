"""Time features that are learned."""

from __future__ import annotations

from torch import Tensor, nn

from components.time_embeddings.projection import Projection
from framework import register


@register.time_embedding("learned")
class Learned(nn.Module):
    """The time itself through Linear-SiLU-Linear: the network finds its own features.

    Args:
        hidden_size: size D of the embedding.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.projection = Projection(1, hidden_size)

    def forward(self, time: Tensor) -> Tensor:
        """Embed times (B,) as (B, D)."""
        centred = 2 * time.double()[:, None] - 1
        embedded: Tensor = self.projection(centred)
        return embedded
