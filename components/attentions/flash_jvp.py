"""Fused attention with its Jacobian-vector product."""

from __future__ import annotations

from importlib.util import find_spec

from torch import Tensor

from components.attentions.dense import Dense
from components.checks import require
from framework import register


@register.attention("flash_jvp")
class FlashJVP:
    """Triton kernels for attention, its tangent and the backward of both: an NVIDIA GPU, N memory.

    Without a tangent it is torch's own fused attention.

    Args:
        tf32: whether float32 products may use tensor cores at 10-bit precision.
    """

    def __init__(self, tf32: bool = False) -> None:
        require(
            find_spec("triton") is not None,
            "attentions.flash_jvp needs the package triton, which this machine has not: use "
            "attentions.auto",
        )
        from kernels import flash_attention

        self.attention = flash_attention
        self.tf32 = tf32

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with q, k, v (B, H, N, d).

        Raises:
            ValueError, TypeError: the inputs are not on an NVIDIA GPU or have no kernel.
        """
        if q.is_meta:  # shapes alone, for checks on machines without the GPU
            return Dense()(q, k, v)
        return self.attention(q, k, v, tf32=self.tf32)
