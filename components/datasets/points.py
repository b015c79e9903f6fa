"""What datasets of points in the plane have in common."""

from __future__ import annotations

import torch
from torch import Tensor

_SIZE = 32  # pixels of a picture's side
_REACH = 3.0  # a picture shows coordinates from -3 to 3


def dots(points: Tensor) -> Tensor:
    """Return a picture for each point (B, 2), a white dot, as uint8 (B, 32, 32, 1).

    The first coordinate runs to the right and the second up; points outside stay at the edge.
    """
    xy = points.detach().cpu().double().nan_to_num(_REACH, _REACH, -_REACH)
    column, up = (((xy / _REACH + 1) / 2 * _SIZE).floor().clamp(0, _SIZE - 1).long()).unbind(1)
    pictures = torch.zeros(len(points), _SIZE, _SIZE, 1, dtype=torch.uint8)
    pictures[torch.arange(len(points)), _SIZE - 1 - up, column] = 255
    return pictures


def in_turn(count: int, num_classes: int) -> Tensor:
    """Return labels 0, 1, 2, ... in turn, (count,) int64."""
    return torch.arange(count) % num_classes
