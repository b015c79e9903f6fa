"""What is learned from: registry `datasets`."""

from components.datasets.checkerboard import Checkerboard
from components.datasets.digits import Digits
from components.datasets.gaussian_mixture import GaussianMixture
from components.datasets.spirals import Spirals

__all__ = ["Checkerboard", "Digits", "GaussianMixture", "Spirals"]
