"""An exponential moving average."""

from __future__ import annotations

from typing import Annotated

import annotated_types

from components.checks import require
from framework import register

Decay = Annotated[float, annotated_types.Interval(ge=0, lt=1)]


@register.weight_average("constant")
class ConstantAverage:
    """A constant decay from the first update on, without warm-up [release].

    Args:
        decay: share of the old average that is kept at each update; 0 follows the weights.
    """

    def __init__(self, decay: Decay = 0.9999) -> None:
        require(0 <= decay < 1, f"decay is {decay}: it has to be at least 0 and below 1")
        self.value = float(decay)

    def decay(self, step: int) -> float:
        """Return the decay."""
        return self.value
