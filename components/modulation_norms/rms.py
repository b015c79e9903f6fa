"""RMSNorm of each modulation vector: the paper's choice."""

from __future__ import annotations

from torch import Tensor, nn

from components.checks import positive
from components.precision import rms_normalised
from framework import register
from framework.settings import Positive


@register.modulation_norm("rms")
class ModulationRMS(nn.Module):
    """v / sqrt(mean(v²) + eps) of each shift, scale and gate, without parameters.

    Modulation starts at zero, so eps sets the size of the first gradients.

    Args:
        dim: size of a vector.
        eps: what is added inside the root.
    """

    def __init__(self, dim: int, eps: Positive = 1e-6) -> None:
        super().__init__()
        self.eps = positive("eps", eps)

    def forward(self, vector: Tensor) -> Tensor:
        """Normalise (..., dim)."""
        return rms_normalised(vector, self.eps).to(vector.dtype)
