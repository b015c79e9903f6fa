"""The second time as the paper has it: the length of the jump."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from components.checks import module
from framework import register
from framework.protocols import TimeEmbedding


@register.second_time("difference")
class Difference(nn.Module):
    """An embedding of t - s: the paper's choice. A tangent of +1 in s enters it as -1."""

    def __init__(self, embedding: Callable[[], TimeEmbedding]) -> None:
        super().__init__()
        self.embedding = module("time_embedding", embedding())

    def forward(self, t: Tensor, s: Tensor) -> Tensor:
        """Embed times t >= s (B,) as (B, D)."""
        embedded: Tensor = self.embedding(t - s)
        return embedded
