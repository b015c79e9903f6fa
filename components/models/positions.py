"""Fixed positions of tokens on a grid."""

from __future__ import annotations

import torch
from torch import Tensor


def sin_cos_positions(height: int, width: int, size: int) -> Tensor:
    """Return 2-D sin-cos positions of a grid in row order, (height * width, size) float32.

    The first half of a vector encodes the column, the second the row; each half has sines, then
    cosines, at frequencies 10000^(-i / (size / 4)) (as in the original DiT and in MAE).
    """
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    quarter = size // 4
    frequencies = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)

    def half(index: Tensor) -> Tensor:
        angles = index.reshape(-1, 1).double() * frequencies  # (height * width, size / 4)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    return torch.cat([half(columns), half(rows)], dim=-1).float()
