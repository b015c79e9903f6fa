"""Jumps along the flow map."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from components.checks import positive
from components.samplers.grid import asked, everywhere, time_grid
from framework import register
from framework.protocols import Field
from framework.settings import Positive


@register.sampler("flow_map")
class FlowMapSampler:
    """n jumps x <- x + f(x, t, s): the paper's sampler. NFE = n; x is kept in float64 [release].

    Args:
        time_power: times are (1 - i/n)^time_power; 1 spaces them evenly.
    """

    def __init__(self, time_power: Positive = 1.0) -> None:
        self.time_power = positive("time_power", time_power)

    def __call__(
        self, field: Field, noise: Tensor, c: Tensor, w: Tensor, nfe: int | None
    ) -> Tensor:
        """Return samples (B, ...) in float64 after nfe jumps."""
        times = time_grid(asked(nfe), self.time_power)
        x = noise.double()
        for t, s in pairwise(times):
            start, end = everywhere(t, noise), everywhere(s, noise)
            x = x + field.displacement(x.to(noise.dtype), start, end, c, w).double()
        return x
