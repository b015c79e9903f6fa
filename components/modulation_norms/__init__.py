"""Normalisation of each vector that modulates a block: registry `modulation_norms`."""

from components.modulation_norms.none import NoModulationNorm
from components.modulation_norms.rms import ModulationRMS

__all__ = ["ModulationRMS", "NoModulationNorm"]
