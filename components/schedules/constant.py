"""The same learning rate throughout."""

from __future__ import annotations

from framework import register


@register.schedule("constant")
class ConstantRate:
    """The optimizer's own learning rate throughout (Table 6)."""

    def __call__(self, step: int, steps: int) -> float:
        """Return 1."""
        return 1.0
