"""Protocols of what turns noise into samples."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Field(Protocol):
    """A trained network seen as a flow: the framework makes it, samplers and metrics ask it.

    `empty_class` is the class that stands for none.
    """

    empty_class: int

    def displacement(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return f(x, t, s), shaped like x (B, ...): x + f is the flow map's end point."""

    def velocity(self, x: Tensor, t: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return u(x, t), shaped like x (B, ...)."""


class Sampler(Protocol):
    """Moves noise at time 1 to samples at time 0.

    Results name the times at which it stops by its attribute `time_grid`, where it has one.
    """

    def __call__(
        self, field: Field, noise: Tensor, c: Tensor, w: Tensor, nfe: int | None
    ) -> Tensor:
        """Return samples like noise (B, ...) in float64 after `nfe` network evaluations.

        None leaves their number to the sampler; the framework counts what was spent.

        Raises:
            ValueError: `nfe` is not one that the sampler can spend exactly, or is None and the
                sampler does not find a number by itself.
        """
