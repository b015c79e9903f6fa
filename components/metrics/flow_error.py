"""How far a jump lands from where the exact flow leads."""

from __future__ import annotations

import torch
from torch import Tensor

from components.datasets.known_flow import known_flow
from framework import register
from framework.protocols import Dataset, Field, Score


@register.metric("flow_error")
class FlowError:
    """Root mean square distance of one jump's end from the exact flow's: `flow_error`.

    It has no sampling floor, and W2 between their distributions is at most as large.
    For models trained without guidance, whose flow is the data's.

    Args:
        dataset: of points whose flow is known.
    """

    score_names = ("flow_error",)

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = known_flow("flow_error", dataset)

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return nothing: samples alone do not say where they should have landed."""
        return []

    @torch.no_grad()
    def field_scores(self, field: Field, noise: Tensor, labels: Tensor, w: Tensor) -> list[Score]:
        """Return the error of jumps from noise (M, C) at time 1 to time 0."""
        one, zero = torch.ones_like(w), torch.zeros_like(w)
        landed = noise + field.displacement(noise, one, zero, labels, w)
        exact = self._dataset.flow(noise.cpu(), one.cpu(), zero.cpu(), labels.cpu())
        apart = (landed.cpu().double() - exact).square().sum(dim=1)
        return [Score("flow_error", float(apart.mean().sqrt()), "lower")]
