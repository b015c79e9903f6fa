"""Scales gamma of the displacement f = gamma(t, s, w) F: registry `flow_maps`."""

from components.flow_maps.exponential import Exponential
from components.flow_maps.plain import Plain
from components.flow_maps.power import Power
from components.flow_maps.scaled import Scaled

__all__ = ["Exponential", "Plain", "Power", "Scaled"]
