"""Steps along the velocity whose lengths follow from a tolerance."""

from __future__ import annotations

import logging
import math
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from components.checks import positive, require
from components.samplers.grid import everywhere
from framework import register
from framework.protocols import Field
from framework.settings import Positive, PositiveInt

_log = logging.getLogger("framework.adaptive")


@register.sampler("adaptive")
class Adaptive:
    """Runge-Kutta steps that keep each sample's error within a tolerance; for velocity models.

    By torchdiffeq, in float64. NFE is an outcome: `evaluation.nfe` has to be None, and the score
    `nfe` says how many evaluations a sample took. A batch takes its steps together. Where a
    velocity is not finite, or `most` evaluations do not suffice, samples are NaN.

    Args:
        rtol: error allowed relative to a sample's size, as root mean squares.
        atol: error allowed beyond that.
        method: `dopri5` and `dopri8` (Dormand and Prince), `bosh3` (Bogacki and Shampine), or
            `adaptive_heun`. torchdiffeq's `fehlberg2` misses its tolerance.
        most: evaluations after which it gives up.
    """

    time_grid = "adaptive"

    def __init__(
        self,
        rtol: Positive = 1e-4,
        atol: Positive = 1e-4,
        method: Literal["dopri5", "dopri8", "bosh3", "adaptive_heun"] = "dopri5",
        most: PositiveInt = 2000,
    ) -> None:
        require(
            find_spec("torchdiffeq") is not None,
            "samplers.adaptive needs the package torchdiffeq: pip install 'tvmlab[samplers]'",
        )
        self.rtol, self.atol = positive("rtol", rtol), positive("atol", atol)
        self.method, self.most = method, most

    def __call__(
        self, field: Field, noise: Tensor, c: Tensor, w: Tensor, nfe: int | None
    ) -> Tensor:
        """Return samples (B, ...) in float64.

        Raises:
            ValueError: a number of evaluations is asked for.
        """
        if nfe is not None:
            raise ValueError(
                f"samplers.adaptive finds its number of evaluations by itself, and {nfe} are asked "
                "for: set evaluation.nfe = None"
            )
        try:
            return self._solve(_Velocity(field, noise, c, w, self.most), noise)
        except _GivenUpError as error:
            _log.warning("samples are NaN: %s", error)
            return torch.full_like(noise, math.nan, dtype=torch.float64)

    def _solve(self, velocity: _Velocity, noise: Tensor) -> Tensor:
        from torchdiffeq import odeint

        ends = torch.tensor([1.0, 0.0], dtype=torch.float64, device=noise.device)
        # `step_t` ends a step at time 0: the solver would step beyond and interpolate.
        options = {"norm": _largest, "step_t": ends[1:]}
        path: Tensor = odeint(
            velocity,
            noise.double(),
            ends,
            rtol=self.rtol,
            atol=self.atol,
            method=self.method,
            options=options,
        )
        return path[-1]


class _GivenUpError(Exception):
    """There is no solution to be had."""


class _Velocity:
    """u(x, t) of a batch for a solver that works in float64."""

    def __init__(self, field: Field, noise: Tensor, c: Tensor, w: Tensor, most: int) -> None:
        self._field, self._noise, self._c, self._w = field, noise, c, w
        self._left = self._most = most

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        if not self._left:
            raise _GivenUpError(f"{self._most} evaluations do not meet the tolerance")
        self._left -= 1
        time = min(max(float(t), 0.0), 1.0)  # the solver's first guess of a step may lie beyond
        x, times = x.to(self._noise.dtype), everywhere(time, self._noise)
        u = self._field.velocity(x, times, self._c, self._w).double()
        if not bool(u.isfinite().all()):
            raise _GivenUpError(f"the velocity at time {time:.3g} is not finite")
        return u


def _largest(errors: Tensor) -> Tensor:
    """Return the largest root mean square of any sample: none hides behind the others."""
    return errors.flatten(1).square().mean(dim=1).sqrt().max()
