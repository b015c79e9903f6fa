"""Two-time networks F(x_t, t, s, c, w): registry `models`."""

from components.models.dit import DiT

__all__ = ["DiT"]
