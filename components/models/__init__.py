"""Two-time networks F(x_t, t, s, c, w): registry `models`."""

from components.models.dit import DiT
from components.models.mlp import PointMLP
from components.models.unet import UNet

__all__ = ["DiT", "PointMLP", "UNet"]
