"""Shortcut models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from components.checks import probability, require
from components.losses.draws import draw, mean_square, point_at
from components.losses.velocity import TARGET
from components.weight_averages.constant import ConstantAverage, Decay
from framework import register
from framework.flow import displacement, expand, velocity
from framework.protocols import (
    Batch,
    Evaluate,
    FlowMap,
    Guidance,
    LossTerms,
    Query,
    TimeSampler,
    WeightAverage,
)
from framework.settings import PositiveInt, Probability


@dataclass(frozen=True)
class Jumps:
    """Which samples jump, and their times t > middle > s; the others have t = middle = s.

    Halves of the shortest jumps are of a length that no jump has.
    """

    jumping: Tensor
    shortest: Tensor
    t: Tensor
    middle: Tensor
    s: Tensor


@register.loss("shortcut")
class Shortcut:
    """Shortcut models (Frans et al., "One Step Diffusion via Shortcut Models", 2024).

    A share of the samples asks that one jump be two of half its length,
    || f(x_t, t, s) - sg[f(x_t, t, m) + f(x_m, m, s)] ||² / (t - s)², with m the middle and lengths
    1, 1/2, 1/4, ... on a grid; the others learn the velocity as in `flow_matching`, guidance
    included. The halves of the shortest length are Euler steps along that velocity, as in their
    paper. Both are divided by w². Targets come from an average of the weights.

    Args:
        time_sampler: draws s', the time at which velocities are learned.
        guidance: draws w and drops labels.
        flow_map: scale of the displacement.
        target_decay: decay of the average behind the targets; 0 takes the weights.
        jump_share: share of samples that learn a jump.
        levels: number of jump lengths: 1, 1/2, ..., 2^(1 - levels).
    """

    def __init__(
        self,
        time_sampler: TimeSampler,
        guidance: Guidance,
        flow_map: FlowMap,
        target_decay: Decay = 0.999,
        jump_share: Probability = 0.25,
        levels: PositiveInt = 7,
    ) -> None:
        self.time_sampler, self.guidance, self.flow_map = time_sampler, guidance, flow_map
        self.target = ConstantAverage(target_decay)
        self.jump_share = probability("jump_share", jump_share)
        require(levels >= 1, f"levels is {levels}: it has to be at least 1")
        self.levels = levels

    def averages(self) -> Mapping[str, WeightAverage]:
        """Return the target weights' average."""
        return {TARGET: self.target}

    def __call__(self, batch: Batch, evaluate: Evaluate) -> LossTerms:
        """Return the loss (B,) with its parts `jump` and `flow_matching`, NaN where not asked."""
        d = draw(batch, self.time_sampler, self.guidance)
        j = self._jumps(batch.uniform("jumps", 3).to(d.t.device), d.s_velocity)
        x_t = point_at(batch, j.t)
        # One pass answers both: the first half of a jump, or the empty class's velocity.
        c_first = torch.where(j.jumping, d.c, d.empty)
        w_first = torch.where(j.jumping, d.w, 1.0)
        (now,) = evaluate(Query(x_t, j.t, j.s, d.c, d.w))
        (first,) = evaluate(self._target(j, x_t, j.t, j.middle, c_first, w_first))
        half = self._half(j, first.F, j.t, j.middle, w_first)
        (second,) = evaluate(self._target(j, x_t + half, j.middle, j.s, d.c, d.w))
        whole = half + self._half(j, second.F, j.middle, j.s, d.w)
        length = torch.where(j.jumping, j.s - j.t, 1.0)
        missed = displacement(self.flow_map, now.F, j.t, j.s, d.w) - whole
        jump = mean_square(missed / expand(length, missed)) / d.w.square()
        w = expand(d.w, x_t)
        mixed = w * (batch.noise - batch.x0)
        mixed = mixed + (1 - w) * velocity(self.flow_map, first.F, j.t, torch.ones_like(d.w))
        flow_matching = mean_square(velocity(self.flow_map, now.F, j.t, d.w) - mixed)
        return _chosen(j.jumping, jump, flow_matching / d.w.square())

    def _jumps(self, u: Tensor, time: Tensor) -> Jumps:
        """Draw the jumps from uniforms (B, 3): length, start, coin; `time` (B,) is for the rest."""
        level = (u[:, 0] * self.levels).floor().clamp(max=self.levels - 1)
        count = torch.exp2(level)  # jumps of this length between noise and data
        index = (u[:, 1] * count).floor().minimum(count - 1)
        s = index / count
        jumping = u[:, 2] < self.jump_share
        ends = (s + 1 / count, s + 0.5 / count, s)
        times = (torch.where(jumping, end.to(time.dtype), time) for end in ends)
        return Jumps(jumping, level == self.levels - 1, *times)

    def _target(self, j: Jumps, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Query:
        """Ask for half a jump from t to s: for the velocity at t where it is the shortest."""
        end = torch.where(j.shortest, t, s)
        return Query(x, t, end, c, w, weights=TARGET, gradient=False)

    def _half(self, j: Jumps, F: Tensor, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return the displacement from t to s that `_target` asked for."""
        along = expand(s - t, F) * velocity(self.flow_map, F, t, w)
        return torch.where(expand(j.shortest, F), along, displacement(self.flow_map, F, t, s, w))


def _chosen(jumping: Tensor, jump: Tensor, flow_matching: Tensor) -> LossTerms:
    """Return each sample's own term (B,)."""
    nan = torch.full_like(jump, torch.nan)
    parts = {
        "jump": torch.where(jumping, jump.detach(), nan),
        "flow_matching": torch.where(jumping, nan, flow_matching.detach()),
    }
    return LossTerms(torch.where(jumping, jump, flow_matching), parts)
