"""RMSNorm of queries and keys: the paper's choice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.checks import positive
from components.precision import rms_normalised
from framework import register
from framework.settings import Positive


@register.qk_norm("rms")
class QKRMS(nn.Module):
    """scale * x / sqrt(mean(x²) + eps) with a learnable scale of head size, shared by the heads.

    Args:
        dim: head size.
        eps: what is added inside the root.
    """

    def __init__(self, dim: int, eps: Positive = 1e-6) -> None:
        super().__init__()
        self.eps = positive("eps", eps)
        self.scale = nn.Parameter(torch.ones(dim))

    def reset_parameters(self) -> None:
        """Set the scale to one."""
        nn.init.ones_(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim)."""
        return (rms_normalised(x, self.eps) * self.scale).to(x.dtype)
