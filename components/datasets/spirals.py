"""Spirals in the plane."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.checks import at_least, positive
from components.datasets.points import dots, in_turn
from framework import register
from framework.protocols import Examples
from framework.settings import NonNegative, Positive, PositiveInt


@register.dataset("spirals")
class Spirals:
    """Points on arms that wind around the origin, a class for each arm; every draw is fresh.

    Args:
        arms: number of arms and of classes.
        turns: how often an arm goes round.
        noise: standard deviation of the distance from the arm.
        size: number of examples in an epoch.
    """

    def __init__(
        self,
        arms: PositiveInt = 2,
        turns: Positive = 1.5,
        noise: NonNegative = 0.05,
        size: PositiveInt = 10_000,
    ) -> None:
        self.name = "spirals"
        self.shape: tuple[int, ...] = (2,)
        self.num_classes = int(at_least("arms", arms, 1))
        self.turns = positive("turns", turns)
        self.noise = at_least("noise", noise, 0)
        self._size = int(at_least("size", size, 1))

    def __len__(self) -> int:
        """Return the number of examples in an epoch."""
        return self._size

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return fresh points (B, 2) of the arms of indices (B,), from uniforms (B, 2).

        The radius is 2 sqrt(u), so that points lie about equally dense along the arm.
        """
        arm = indices % self.num_classes
        along = u[:, 0].sqrt()
        angle = 2 * math.pi * (self.turns * along + arm / self.num_classes)
        radius = 2 * along + self.noise * torch.special.ndtri(u[:, 1])
        x = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)
        return Examples(x.float(), arm)

    def labels(self) -> Tensor:
        """Return the labels of an epoch (size,)."""
        return in_turn(self._size, self.num_classes)

    def held_out(self) -> Examples:
        """Return no examples: there is no end of fresh ones."""
        return Examples(torch.empty(0, 2), torch.empty(0, dtype=torch.int64))

    def images(self, x: Tensor) -> Tensor:
        """Return a picture of each point (B, 2) as uint8 (B, 32, 32, 1)."""
        return dots(x)
