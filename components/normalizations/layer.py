"""LayerNorm without parameters: the original DiT's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.checks import positive
from components.precision import at_least_float32
from framework import register
from framework.settings import Positive


@register.normalization("layer")
class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps), without parameters, as in the original DiT.

    Its Lipschitz constant is not bounded: what the paper replaces by RMSNorm.

    Args:
        dim: size of the last axis.
        eps: what is added inside the root.
    """

    def __init__(self, dim: int, eps: Positive = 1e-6) -> None:
        super().__init__()
        self.eps = positive("eps", eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim)."""
        wide = at_least_float32(x)
        centred = wide - wide.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        return (centred * torch.rsqrt(variance + self.eps)).to(x.dtype)
