"""Two-time networks F(x_t, t, s, c, w): registry `models`."""

from components.models.dit import DiT
from components.models.mlp import PointMLP

__all__ = ["DiT", "PointMLP"]
