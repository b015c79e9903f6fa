"""Jumps along the flow map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from components.checks import positive, require
from components.samplers.grid import asked, everywhere, grid_name, time_grid
from framework import register
from framework.protocols import Field
from framework.settings import Positive, Probability


@register.sampler("flow_map", added={"times": None})
class FlowMapSampler:
    """n jumps x <- x + f(x, t, s): the paper's sampler. NFE = n; x is kept in float64 [release].

    Args:
        time_power: times are (1 - i/n)^time_power; 1 spaces them evenly.
        times: all of them instead, falling from 1 to 0; NFE is then one less than their number.
    """

    def __init__(
        self, time_power: Positive = 1.0, times: tuple[Probability, ...] | None = None
    ) -> None:
        self.time_power = positive("time_power", time_power)
        require(
            times is None or (times[:1] + times[-1:] == (1, 0) and _falls(times)),
            f"times are {times}: they have to fall from 1 to 0",
        )
        self.times = times
        self.time_grid = grid_name(time_power) if times is None else f"given {times}"

    def __call__(
        self, field: Field, noise: Tensor, c: Tensor, w: Tensor, nfe: int | None
    ) -> Tensor:
        """Return samples (B, ...) in float64 after nfe jumps."""
        x = noise.double()
        for t, s in pairwise(self._grid(asked(nfe))):
            start, end = everywhere(t, noise), everywhere(s, noise)
            x = x + field.displacement(x.to(noise.dtype), start, end, c, w).double()
        return x

    def _grid(self, nfe: int) -> Sequence[float]:
        if self.times is None:
            return time_grid(nfe, self.time_power)
        if len(self.times) != nfe + 1:
            raise ValueError(
                f"samplers.flow_map.times makes {len(self.times) - 1} jumps, and {nfe} evaluations "
                "are asked for"
            )
        return self.times


def _falls(times: Sequence[float]) -> bool:
    return all(later < earlier for earlier, later in pairwise(times))
