"""From noise to samples: registry `samplers`."""

from components.samplers.adaptive import Adaptive
from components.samplers.euler import Euler
from components.samplers.flow_map import FlowMapSampler
from components.samplers.guided import Guided
from components.samplers.heun import Heun

__all__ = ["Adaptive", "Euler", "FlowMapSampler", "Guided", "Heun"]
