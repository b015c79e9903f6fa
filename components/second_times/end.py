"""The second time as it is."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from components.checks import module
from framework import register
from framework.protocols import TimeEmbedding


@register.second_time("end")
class End(nn.Module):
    """An embedding of s itself."""

    def __init__(self, embedding: Callable[[], TimeEmbedding]) -> None:
        super().__init__()
        self.embedding = module("time_embedding", embedding())

    def forward(self, t: Tensor, s: Tensor) -> Tensor:
        """Embed the end time s (B,) as (B, D)."""
        embedded: Tensor = self.embedding(s)
        return embedded
