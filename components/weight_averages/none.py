"""No averaging."""

from __future__ import annotations

from framework import register


@register.weight_average("none")
class NoAverage:
    """The weights themselves."""

    def decay(self, step: int) -> float:
        """Return 0: nothing of the past is kept."""
        return 0.0
