"""A power-function average."""

from __future__ import annotations

from components.checks import positive
from framework import register
from framework.settings import Positive


@register.weight_average("power")
class PowerAverage:
    """Weights of the past count like (time)^gamma: decay (1 - 1/step)^(gamma + 1).

    Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models", 2024 (EDM2).
    The averaged stretch grows with training; no start-up bias.

    Args:
        gamma: exponent; 6.94 gives a profile of relative width 0.10 of training, 16.97 one of 0.05.
    """

    def __init__(self, gamma: Positive = 6.94) -> None:
        self.exponent = positive("gamma", gamma)

    def decay(self, step: int) -> float:
        """Return the decay for update number `step`, from 1."""
        return float((1 - 1 / step) ** (self.exponent + 1))
