"""What is learned from: registry `datasets`."""

from components.datasets.checkerboard import Checkerboard
from components.datasets.digits import Digits
from components.datasets.fashion_mnist import FashionMNIST
from components.datasets.gaussian_mixture import GaussianMixture
from components.datasets.image_folder import ImageFolder
from components.datasets.latents import Latents
from components.datasets.spirals import Spirals

__all__ = [
    "Checkerboard",
    "Digits",
    "FashionMNIST",
    "GaussianMixture",
    "ImageFolder",
    "Latents",
    "Spirals",
]
