"""Draws of the two times: registry `time_samplers`."""

from components.time_samplers.clamp import Clamp
from components.time_samplers.gap import Gap
from components.time_samplers.gap_star import GapStar
from components.time_samplers.trunc import Trunc
from components.time_samplers.uniform import Uniform

__all__ = ["Clamp", "Gap", "GapStar", "Trunc", "Uniform"]
