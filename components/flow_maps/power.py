"""Between the plain and the scaled parameterization."""

from __future__ import annotations

from torch import Tensor

from components.checks import finite
from framework import register


@register.flow_map("power")
class Power:
    """f = (s - t) w^exponent F: plain at 0, scaled at 1, and what lies between.

    Args:
        exponent: power of the guidance weight.
    """

    def __init__(self, exponent: float = 0.5) -> None:
        self.exponent = finite("exponent", exponent)

    def gamma(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return (s - t) w^exponent (B,)."""
        return (s - t) * w**self.exponent

    def dgamma_ds(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return w^exponent (B,)."""
        return w**self.exponent
