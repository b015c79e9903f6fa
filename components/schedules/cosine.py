"""A learning rate that falls along a cosine."""

from __future__ import annotations

import math

from components.checks import at_least, probability
from framework import register
from framework.settings import NonNegativeInt, Probability


@register.schedule("cosine")
class Cosine:
    """A linear rise, then half a cosine down to `final` at the last update.

    Args:
        warmup_steps: updates until the full learning rate.
        final: factor at the last update.
    """

    def __init__(self, warmup_steps: NonNegativeInt = 0, final: Probability = 0.0) -> None:
        self.warmup_steps = int(at_least("warmup_steps", warmup_steps, 0))
        self.final = probability("final", final)

    def __call__(self, step: int, steps: int) -> float:
        """Return the factor for update number `step`, from 1, of `steps`."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        progress = (step - self.warmup_steps) / max(steps - self.warmup_steps, 1)
        cosine = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        return self.final + (1 - self.final) * cosine
