"""Datasets whose velocity and flow are known in closed form."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from framework import UserError
from framework.protocols import Dataset, Examples


@runtime_checkable
class KnownFlow(Protocol):
    """A dataset of points (C,) with its exact velocity and flow, in float64."""

    name: str
    shape: tuple[int, ...]
    num_classes: int

    def __len__(self) -> int:
        """Return the number of training examples."""

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return training examples, as `Dataset` does."""

    def velocity(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """Return u(x, t) (B, C) of classes c (B,) at times t (B,)."""

    def flow(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, steps: int = 200) -> Tensor:
        """Return the end point at s (B,) of the flow through x (B, C) at t (B,)."""


def known_flow(name: str, dataset: Dataset) -> KnownFlow:
    """Return a dataset as one with a known flow.

    Raises:
        UserError: it has none.
    """
    if not isinstance(dataset, KnownFlow):
        raise UserError(
            f"metrics.{name} needs the exact flow, which {dataset.name} does not know: use "
            "datasets.gaussian_mixture"
        )
    return dataset
