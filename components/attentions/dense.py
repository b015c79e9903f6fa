"""Attention written out: the reference of the others."""

from __future__ import annotations

import math

from torch import Tensor

from framework import register


@register.attention("dense")
class Dense:
    """softmax(q k^T / sqrt(d)) v in plain torch: right with any tangent, N² memory."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with q, k, v (B, H, N, d)."""
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)  # (B, H, N, N)
        return scores.softmax(dim=-1) @ v
