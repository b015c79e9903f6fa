"""The second time twice: the end of the jump and its length."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from components.checks import module
from framework import register
from framework.protocols import TimeEmbedding


@register.second_time("both")
class Both(nn.Module):
    """The sum of an embedding of s and one of t - s, each with its own weights."""

    def __init__(self, embedding: Callable[[], TimeEmbedding]) -> None:
        super().__init__()
        self.end = module("time_embedding", embedding())
        self.difference = module("time_embedding", embedding())

    def forward(self, t: Tensor, s: Tensor) -> Tensor:
        """Embed times t >= s (B,) as (B, D)."""
        embedded: Tensor = self.end(s) + self.difference(t - s)
        return embedded
