"""Guidance while sampling, for models trained without a weight."""

from __future__ import annotations

import torch
from torch import Tensor

from framework import register
from framework.flow import expand
from framework.protocols import Field, Sampler


@register.sampler("guided")
class Guided:
    """Classifier-free guidance around a sampler, two evaluations where that one spends one.

    u(x, t, empty) + w (u(x, t, c) - u(x, t, empty)) (Ho and Salimans, "Classifier-Free Diffusion
    Guidance", 2022), and displacements alike; the network itself is asked at weight 1. NFE counts
    both and has to be even.

    Args:
        sampler: what moves along the guided flow.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.time_grid = getattr(sampler, "time_grid", "")

    def __call__(
        self, field: Field, noise: Tensor, c: Tensor, w: Tensor, nfe: int | None
    ) -> Tensor:
        """Return samples (B, ...) in float64 after nfe evaluations.

        Raises:
            ValueError: nfe is odd, or half of it is nothing that the sampler can spend.
        """
        if nfe is not None and nfe % 2:
            raise ValueError(f"samplers.guided spends evaluations in pairs: {nfe} is odd")
        half = None if nfe is None else nfe // 2
        return self.sampler(_GuidedField(field), noise, c, w, half)


class _GuidedField:
    """A flow and its unconditional self, w times apart."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self.empty_class = field.empty_class

    def displacement(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        one, empty = torch.ones_like(w), torch.full_like(c, self.empty_class)
        unconditional = self._field.displacement(x, t, s, empty, one)
        conditional = self._field.displacement(x, t, s, c, one)
        return unconditional + expand(w, x) * (conditional - unconditional)

    def velocity(self, x: Tensor, t: Tensor, c: Tensor, w: Tensor) -> Tensor:
        one, empty = torch.ones_like(w), torch.full_like(c, self.empty_class)
        unconditional = self._field.velocity(x, t, empty, one)
        conditional = self._field.velocity(x, t, c, one)
        return unconditional + expand(w, x) * (conditional - unconditional)
