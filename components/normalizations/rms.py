"""RMSNorm without parameters: the paper's choice for tokens."""

from __future__ import annotations

from torch import Tensor, nn

from components.checks import positive
from components.precision import rms_normalised
from framework import register
from framework.settings import Positive


@register.normalization("rms")
class RMS(nn.Module):
    """x / sqrt(mean(x²) + eps), without parameters (semi-Lipschitz control).

    Args:
        dim: size of the last axis.
        eps: what is added inside the root.
    """

    def __init__(self, dim: int, eps: Positive = 1e-6) -> None:
        super().__init__()
        self.eps = positive("eps", eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim)."""
        return rms_normalised(x, self.eps).to(x.dtype)
