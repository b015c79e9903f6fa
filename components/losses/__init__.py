"""Training objectives: registry `losses`."""

from components.losses.flow_matching import FlowMatching
from components.losses.mean_flow import MeanFlow
from components.losses.tvm import TVM

__all__ = ["TVM", "FlowMatching", "MeanFlow"]
