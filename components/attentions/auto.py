"""The fastest attention that is right for its inputs."""

from __future__ import annotations

from torch import Tensor

from components.attentions.dense import Dense
from framework import register


@register.attention("auto")
class Auto:
    """The fastest attention that is right on this device, with or without tangents."""

    def __init__(self) -> None:
        self.attention = Dense()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with q, k, v (B, H, N, d)."""
        return self.attention(q, k, v)
