"""A learning rate that rises first."""

from __future__ import annotations

from components.checks import at_least
from framework import register
from framework.settings import NonNegativeInt


@register.schedule("warmup")
class Warmup:
    """A linear rise over the first updates, then constant.

    Args:
        warmup_steps: updates until the full learning rate.
    """

    def __init__(self, warmup_steps: NonNegativeInt = 1000) -> None:
        self.warmup_steps = at_least("warmup_steps", warmup_steps, 0)

    def __call__(self, step: int, steps: int) -> float:
        """Return the factor for update number `step`, from 1."""
        return min(1.0, step / max(self.warmup_steps, 1))
