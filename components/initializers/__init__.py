"""Initial values of weights: registry `initializers`."""

from components.initializers.spectral import Spectral
from components.initializers.spectral_time import SpectralTime
from components.initializers.xavier_uniform import XavierUniform

__all__ = ["Spectral", "SpectralTime", "XavierUniform"]
