"""Learning rates along training: registry `schedules`."""

from components.schedules.constant import ConstantRate
from components.schedules.cosine import Cosine
from components.schedules.warmup import Warmup

__all__ = ["ConstantRate", "Cosine", "Warmup"]
