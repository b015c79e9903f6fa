"""Draws of the guidance weight and of dropped labels: registry `guidances`."""

from components.guidances.constant import ConstantGuidance
from components.guidances.none import NoGuidance
from components.guidances.random_beta import RandomBeta
from components.guidances.random_w import RandomW
from components.guidances.uniform_beta import UniformBeta

__all__ = ["ConstantGuidance", "NoGuidance", "RandomBeta", "RandomW", "UniformBeta"]
