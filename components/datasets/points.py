"""What datasets of points in the plane have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from components.checks import at_least
from framework.protocols import Examples

_SIZE = 32  # pixels of a picture's side
_REACH = 3.0  # a picture shows coordinates from -3 to 3


class FreshPoints:
    """Points in the plane without end: labels in turn, nothing held out, pictures of dots.

    Args:
        name: of the dataset.
        num_classes: number of classes.
        size: number of examples in an epoch.
    """

    shape: tuple[int, ...] = (2,)

    def __init__(self, name: str, num_classes: int, size: int) -> None:
        self.name = name
        self.num_classes = num_classes
        self._size = int(at_least("size", size, 1))

    def __len__(self) -> int:
        """Return the number of examples in an epoch."""
        return self._size

    def labels(self) -> Tensor:
        """Return the labels of an epoch (size,): 0, 1, 2, ... in turn."""
        return torch.arange(self._size) % self.num_classes

    def held_out(self) -> Examples:
        """Return no examples: there is no end of fresh ones."""
        return Examples(torch.empty(0, 2), torch.empty(0, dtype=torch.int64))

    def images(self, x: Tensor) -> Tensor:
        """Return a picture of each point (B, 2) as uint8 (B, 32, 32, 1)."""
        return dots(x)


def dots(points: Tensor) -> Tensor:
    """Return a picture for each point (B, 2), a white dot, as uint8 (B, 32, 32, 1).

    The first coordinate runs to the right and the second up; points outside stay at the edge.
    """
    xy = points.detach().cpu().double().nan_to_num(_REACH, _REACH, -_REACH)
    column, up = (((xy / _REACH + 1) / 2 * _SIZE).floor().clamp(0, _SIZE - 1).long()).unbind(1)
    pictures = torch.zeros(len(points), _SIZE, _SIZE, 1, dtype=torch.uint8)
    pictures[torch.arange(len(points)), _SIZE - 1 - up, column] = 255
    return pictures
