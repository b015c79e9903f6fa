"""MeanFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from components.checks import at_least, positive, require
from components.flow_maps.plain import Plain
from components.losses.draws import Draws, draw, mean_square, point_at
from framework import register
from framework.flow import expand
from framework.protocols import (
    Batch,
    Evaluate,
    FlowMap,
    Guidance,
    LossTerms,
    Query,
    Tangent,
    TimeSampler,
    WeightAverage,
)
from framework.settings import NonNegative, Positive, Probability


@register.loss("mean_flow")
class MeanFlow:
    """MeanFlow (equation 18; Geng et al., "Mean Flows for One-step Generative Modeling", 2025).

    || F(x_t, t, s) - sg[v~ + (s - t)(v~ . grad_x F + dF/dt)] ||², with v~ = v without guidance and
    v~ = w v + kappa u(x_t, t, c) + (1 - w - kappa) u(x_t, t, empty) with it. The class's network u
    sees the weight w in the form for constant guidance (equation 93; effective weight
    w / (1 - kappa)) and 1 in that for random guidance (equation 96; effective weight w + kappa);
    the empty class's sees 1, with which dropped labels train it (equation 93 writes w there too).

    Its authors train ImageNet with t = s for three samples in four and adaptive_power = 1; the
    defaults here are equation 18 as it stands.

    Args:
        time_sampler: draws t and s.
        guidance: draws w and drops labels.
        kappa: share of the network's own conditional velocity in v~, below 1.
        mix: `constant` for equation 93, `random` for equation 96.
        interval_start: guidance is on for t from here ...
        interval_end: ... to here; elsewhere v~ = v.
        adaptive_power: p of the weight 1 / (error² + c)^p, without gradient; 0 for none.
        adaptive_offset: c of that weight, on the scale of a mean over elements.
    """

    def __init__(
        self,
        time_sampler: TimeSampler,
        guidance: Guidance,
        kappa: Probability = 0.0,
        mix: Literal["constant", "random"] = "constant",
        interval_start: Probability = 0.0,
        interval_end: Probability = 1.0,
        adaptive_power: NonNegative = 0.0,
        adaptive_offset: Positive = 1e-3,
    ) -> None:
        require(0 <= kappa < 1, f"kappa is {kappa}: it has to be at least 0 and below 1")
        require(
            0 <= interval_start <= interval_end <= 1,
            f"interval_start ({interval_start}) and interval_end ({interval_end}) have to be in "
            "order, between 0 and 1",
        )
        require(mix in ("constant", "random"), f"mix is {mix!r}: constant or random")
        self.time_sampler, self.guidance = time_sampler, guidance
        self.flow_map: FlowMap = Plain()
        self.kappa, self.mix = kappa, mix
        self.interval = (interval_start, interval_end)
        self.adaptive_power = at_least("adaptive_power", adaptive_power, 0)
        self.adaptive_offset = positive("adaptive_offset", adaptive_offset)

    def averages(self) -> Mapping[str, WeightAverage]:
        """Return none: targets come from the weights themselves."""
        return {}

    def __call__(self, batch: Batch, evaluate: Evaluate) -> LossTerms:
        """Return the loss (B,) with its part `mean_flow`, before the adaptive weight."""
        d = draw(batch, self.time_sampler, self.guidance)
        x_t = point_at(batch, d.t)
        v = self._guided(batch.noise - batch.x0, x_t, d, evaluate)
        tangent = Tangent(x=v, t=torch.ones_like(d.t), detach=True)
        (jump,) = evaluate(Query(x_t, d.t, d.s, d.c, d.w, tangent=tangent))
        target = v + expand(d.s - d.t, v) * jump.derivative
        error = mean_square(jump.F - target)
        weight = (error.detach() + self.adaptive_offset) ** -self.adaptive_power
        return LossTerms(weight * error, {"mean_flow": error.detach()})

    def _guided(self, v: Tensor, x_t: Tensor, d: Draws, evaluate: Evaluate) -> Tensor:
        """Return v~ (B, ...), without gradient."""
        if self.guidance.weight == 1 and self.kappa == 0:
            return v
        one = torch.ones_like(d.w)
        conditions = [(d.empty, one)]
        if self.kappa:
            conditions.append((d.c, d.w if self.mix == "constant" else one))
        unconditional, *conditional = evaluate(
            *(Query(x_t, d.t, d.t, c, w, gradient=False) for c, w in conditions)
        )
        w = expand(d.w, v)
        mixed = w * v + (1 - w - self.kappa) * unconditional.F
        for own in conditional:
            mixed = mixed + self.kappa * own.F
        start, end = self.interval
        inside = (d.t >= start) & (d.t <= end) & (d.c != d.empty)
        return torch.where(expand(inside, v), mixed, v)
