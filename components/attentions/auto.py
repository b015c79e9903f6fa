"""The fastest attention that is right for its inputs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from torch import Tensor

from components.attentions.dense import Dense
from framework import register


@register.attention("auto")
class Auto:
    """The fastest attention that is right on this device: `flash_jvp` on a GPU, else `dense`."""

    def __init__(self) -> None:
        self.attention: Callable[[Tensor, Tensor, Tensor], Tensor] = Dense()
        if find_spec("triton") is not None:
            from kernels import attention

            self.attention = attention

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with q, k, v (B, H, N, d)."""
        return self.attention(q, k, v)
