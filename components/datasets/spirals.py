"""Spirals in the plane."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.checks import at_least, positive
from components.datasets.points import FreshPoints
from framework import register
from framework.protocols import Examples
from framework.settings import NonNegative, Positive, PositiveInt


@register.dataset("spirals")
class Spirals(FreshPoints):
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
        super().__init__("spirals", int(at_least("arms", arms, 1)), size)
        self.turns = positive("turns", turns)
        self.noise = at_least("noise", noise, 0)

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
