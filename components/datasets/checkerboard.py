"""A checkerboard in the plane."""

from __future__ import annotations

import torch
from torch import Tensor

from components.checks import at_least, require
from components.datasets.points import FreshPoints
from framework import register
from framework.protocols import Examples
from framework.settings import PositiveInt


@register.dataset("checkerboard")
class Checkerboard(FreshPoints):
    """Uniform points on the dark cells of a square board, a class for each row; draws are fresh.

    The board is scaled so that a coordinate has standard deviation about 1.

    Args:
        cells: rows and columns, an even number.
        size: number of examples in an epoch.
    """

    def __init__(self, cells: PositiveInt = 4, size: PositiveInt = 10_000) -> None:
        require(cells % 2 == 0, f"cells is {cells}: it has to be an even number")
        self.cells = int(at_least("cells", cells, 2))
        self.half_width = 3**0.5  # of a uniform distribution with standard deviation 1
        super().__init__("checkerboard", self.cells, size)

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return fresh points (B, 2) of the rows of indices (B,), from uniforms (B, 2)."""
        row = indices % self.cells
        place = u[:, 0] * (self.cells // 2)  # which dark cell of the row, and where in it
        dark = place.floor().clamp(max=self.cells // 2 - 1)
        column = 2 * dark + row % 2 + (place - dark)
        board = torch.stack([column, row + u[:, 1]], dim=-1) / self.cells  # in [0, 1]²
        return Examples(((2 * board - 1) * self.half_width).float(), row)
