"""Euler steps along the velocity."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from components.checks import positive
from components.samplers.grid import asked, everywhere, grid_name, time_grid
from framework import register
from framework.protocols import Field
from framework.settings import Positive


@register.sampler("euler")
class Euler:
    """n steps x <- x + (s - t) u(x, t), for velocity models. NFE = n.

    Args:
        time_power: times are (1 - i/n)^time_power; 1 spaces them evenly.
    """

    def __init__(self, time_power: Positive = 1.0) -> None:
        self.time_power = positive("time_power", time_power)
        self.time_grid = grid_name(time_power)

    def __call__(
        self, field: Field, noise: Tensor, c: Tensor, w: Tensor, nfe: int | None
    ) -> Tensor:
        """Return samples (B, ...) in float64 after nfe steps."""
        times = time_grid(asked(nfe), self.time_power)
        x = noise.double()
        for t, s in pairwise(times):
            u = field.velocity(x.to(noise.dtype), everywhere(t, noise), c, w)
            x = x + (s - t) * u.double()
        return x
