"""Normalisation of tokens inside the network: registry `normalizations`."""

from components.normalizations.dyt import DynamicTanh
from components.normalizations.layer import LayerNorm
from components.normalizations.none import NoNormalization
from components.normalizations.rms import RMS
from components.normalizations.rms_scaled import RMSScaled

__all__ = ["RMS", "DynamicTanh", "LayerNorm", "NoNormalization", "RMSScaled"]
