"""What losses draw for one batch, and the path between data and noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from framework.answers import times_of
from framework.flow import expand
from framework.protocols import Batch, Guidance, TimeSampler


@dataclass(frozen=True)
class Draws:
    """Times t >= s and s' and conditions c, w of one batch, (B,) each, on the data's device.

    Floating ones have the data's precision. `empty` is the empty class for every sample.
    """

    t: Tensor
    s: Tensor
    s_velocity: Tensor
    c: Tensor
    w: Tensor
    empty: Tensor


def draw(batch: Batch, time_sampler: TimeSampler, guidance: Guidance) -> Draws:
    """Draw a batch's times and conditions from its streams `times` and `guidance`."""
    x0 = batch.x0
    times = times_of(time_sampler, batch.uniform("times", 4))
    u = batch.uniform("guidance", 2)
    conditions = guidance(batch.labels.to(u.device), batch.empty_class, u)
    c = conditions.c.to(x0.device)
    return Draws(
        t=times.t.to(x0),
        s=times.s.to(x0),
        s_velocity=times.s_velocity.to(x0),
        c=c,
        w=conditions.w.to(x0),
        empty=torch.full_like(c, batch.empty_class),
    )


def point_at(batch: Batch, t: Tensor) -> Tensor:
    """Return x_t = (1 - t) x0 + t x1 (B, ...) for times (B,)."""
    t = expand(t, batch.x0)
    return (1 - t) * batch.x0 + t * batch.noise


def mean_square(error: Tensor) -> Tensor:
    """Return the mean of error² over all but the batch, (B,): the release's form of || . ||²."""
    return error.square().flatten(1).mean(dim=1)
