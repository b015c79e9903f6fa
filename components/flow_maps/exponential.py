"""A scale that is not linear in the length of the jump."""

from __future__ import annotations

import torch
from torch import Tensor

from components.checks import finite, positive
from framework import register
from framework.settings import Positive


@register.flow_map("exponential")
class Exponential:
    """gamma = -(1 - exp(-rate (t - s))) / rate * w^exponent: a general gamma(t, s) (App. A.1).

    Short jumps are those of `power`, u = w^exponent F; long ones are damped.

    Args:
        rate: how fast the scale saturates, per unit of time.
        exponent: power of the guidance weight.
    """

    def __init__(self, rate: Positive = 1.0, exponent: float = 0.0) -> None:
        self.rate = positive("rate", rate)
        self.exponent = finite("exponent", exponent)

    def gamma(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return the scale (B,)."""
        return torch.expm1(self.rate * (s - t)) / self.rate * w**self.exponent

    def dgamma_ds(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return exp(rate (s - t)) w^exponent (B,)."""
        return torch.exp(self.rate * (s - t)) * w**self.exponent
