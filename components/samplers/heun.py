"""Heun steps along the velocity."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from components.checks import positive
from components.samplers.grid import asked, everywhere, grid_name, time_grid
from framework import register
from framework.protocols import Field
from framework.settings import Positive


@register.sampler("heun")
class Heun:
    """Steps of the second order, two evaluations each; an odd one out is a last Euler step.

    x <- x + (s - t) (u(x, t) + u(x + (s - t) u(x, t), s)) / 2. NFE is spent exactly.

    Args:
        time_power: times are (1 - i/n)^time_power; 1 spaces them evenly.
    """

    def __init__(self, time_power: Positive = 1.0) -> None:
        self.time_power = positive("time_power", time_power)
        self.time_grid = grid_name(time_power)

    def __call__(
        self, field: Field, noise: Tensor, c: Tensor, w: Tensor, nfe: int | None
    ) -> Tensor:
        """Return samples (B, ...) in float64 after nfe evaluations."""
        left = asked(nfe)
        times = time_grid((left + 1) // 2, self.time_power)
        x = noise.double()
        for t, s in pairwise(times):
            start, end = everywhere(t, noise), everywhere(s, noise)
            u = field.velocity(x.to(noise.dtype), start, c, w).double()
            if left >= 2:
                ahead = x + (s - t) * u
                u = (u + field.velocity(ahead.to(noise.dtype), end, c, w).double()) / 2
            x, left = x + (s - t) * u, left - 2
        return x
