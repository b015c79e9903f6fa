"""A mixture of Gaussians in the plane, with its exact velocity and flow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.checks import at_least, positive
from components.datasets.points import FreshPoints
from framework import register
from framework.protocols import Examples
from framework.settings import Positive, PositiveInt


@register.dataset("gaussian_mixture", added={"labelled": True})
class GaussianMixture(FreshPoints):
    """Equal Gaussians on a circle around the origin, one a class; every draw is fresh.

    Along x_t = (1 - t) x0 + t x1 component k is N((1 - t) m_k, v_t) with
    v_t = (1 - t)² std² + t², its velocity (dv_t/dt / 2 v_t) (x - (1 - t) m_k) - m_k, and its flow
    keeps (x - (1 - t) m_k) / sqrt(v_t). The mixture's velocity is the components' mean, weighted by
    how likely each is at x.

    Args:
        components: number of Gaussians and of classes.
        radius: distance of their means from the origin.
        std: their standard deviation.
        size: number of examples in an epoch.
        labelled: whether each Gaussian is a class; otherwise all of them are the only one.
    """

    def __init__(
        self,
        components: PositiveInt = 8,
        radius: Positive = 1.4,
        std: Positive = 0.1,
        size: PositiveInt = 10_000,
        labelled: bool = True,
    ) -> None:
        self._components = int(at_least("components", components, 1))
        super().__init__("gaussian_mixture", self._components if labelled else 1, size)
        self.std = positive("std", std)
        angles = 2 * math.pi * torch.arange(components, dtype=torch.float64) / components
        circle = torch.stack([angles.cos(), angles.sin()], dim=-1)
        self.means = positive("radius", radius) * circle  # (K, 2)

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return fresh points (B, 2) of the classes of indices (B,), from uniforms (B, 2)."""
        own = indices % self._components
        x = self.means[own] + self.std * torch.special.ndtri(u)
        return Examples(x.float(), own % self.num_classes)

    def velocity(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """Return the exact velocity u(x, t) of class c, or of the mixture for the empty class.

        x is (B, 2), t and c are (B,); computed in float64.
        """
        x, t, means = x.double(), t.double()[:, None], self.means.to(x.device)
        variance = (1 - t).square() * self.std**2 + t.square()  # (B, 1)
        from_means = x[:, None] - (1 - t)[..., None] * means  # (B, K, 2)
        slope = ((t - (1 - t) * self.std**2) / variance)[..., None]
        velocities = slope * from_means - means  # (B, K, 2)
        likely = (-from_means.square().sum(dim=-1) / (2 * variance)).softmax(dim=-1)
        own = torch.nn.functional.one_hot(c.clamp(max=self._components - 1), self._components)
        mixed = (c == self.num_classes) | (self.num_classes < self._components)
        shares = torch.where(mixed[:, None], likely, own.double())
        return (shares[..., None] * velocities).sum(dim=1)

    def flow(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, steps: int = 200) -> Tensor:
        """Return the exact end point at s of the flow through (x, t), float64 (B, 2).

        By `steps` Runge-Kutta steps of the fourth order, from t (B,) to s (B,).
        """
        x, t = x.double(), t.double()
        h = (s.double() - t) / steps
        for _ in range(steps):
            a = self.velocity(x, t, c)
            b = self.velocity(x + h[:, None] / 2 * a, t + h / 2, c)
            d = self.velocity(x + h[:, None] / 2 * b, t + h / 2, c)
            e = self.velocity(x + h[:, None] * d, t + h, c)
            x, t = x + h[:, None] / 6 * (a + 2 * b + 2 * d + e), t + h
        return x
