"""Attention by torch's fused kernels, for networks that are never differentiated forwards."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from framework import register


@register.attention("sdpa")
class SDPA:
    """`scaled_dot_product_attention`: fast, but without tangents, which it refuses.

    For losses that ask for no derivative, such as flow matching.
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with q, k, v (B, H, N, d).

        Raises:
            RuntimeError: an input carries a tangent.
        """
        if any(forward_ad.unpack_dual(x).tangent is not None for x in (q, k, v)):
            raise RuntimeError(
                "attentions.sdpa has no derivative for tangents, which this loss asks for: "
                "use attentions.dense or attentions.auto"
            )
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)
