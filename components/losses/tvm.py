"""Terminal velocity matching."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from components.losses.draws import Draws, draw, mean_square, point_at
from components.losses.velocity import TARGET, VelocityTerm
from components.weight_averages.constant import ConstantAverage, Decay
from framework import register
from framework.flow import derivative, displacement, velocity
from framework.protocols import (
    Batch,
    Evaluate,
    Evaluation,
    FlowMap,
    Guidance,
    LossTerms,
    Query,
    Tangent,
    TimeSampler,
    WeightAverage,
)


@register.loss("tvm")
class TVM:
    """Terminal velocity matching (equations 12, 14 and 15).

    terminal = || df/ds(x_t, t, s, c, w) - u_target(x_t + f(x_t, t, s, c, w), s, c, w) ||², zero
    where t = s; flow_matching = || u(x_s', s', c, w) - [w v + (1 - w) u_target(x_s', s', empty, 1)]
    ||²; the loss is their sum / w². Norms are means over elements, as in the released code.

    Args:
        time_sampler: draws t, s and s'.
        guidance: draws w and drops labels.
        flow_map: scale of the displacement.
        target_decay: decay of the average of the weights behind u_target; 0 takes the weights.
        detach_jvp: whether no gradient flows through dF/ds.
    """

    def __init__(
        self,
        time_sampler: TimeSampler,
        guidance: Guidance,
        flow_map: FlowMap,
        target_decay: Decay = 0.99,
        detach_jvp: bool = False,
    ) -> None:
        self.time_sampler, self.guidance, self.flow_map = time_sampler, guidance, flow_map
        self.target = ConstantAverage(target_decay)
        self.detach_jvp = detach_jvp

    def averages(self) -> Mapping[str, WeightAverage]:
        """Return the target weights' average."""
        return {TARGET: self.target}

    def __call__(self, batch: Batch, evaluate: Evaluate) -> LossTerms:
        """Return the loss (B,) with its parts `terminal` and `flow_matching`, divided by w² too."""
        d = draw(batch, self.time_sampler, self.guidance)
        x_t = point_at(batch, d.t)
        fm = VelocityTerm(batch, d, self.flow_map, self.guidance)
        along_s = Tangent(s=torch.ones_like(d.s), detach=self.detach_jvp)
        jump, now = evaluate(Query(x_t, d.t, d.s, d.c, d.w, tangent=along_s), fm.query)
        arrival, *empty = evaluate(self._arrival(x_t, jump, d), *fm.target_queries)
        terminal = self._terminal(jump, arrival, d) / d.w.square()
        flow_matching = fm.value(now, tuple(empty)) / d.w.square()
        return LossTerms(
            total=terminal + flow_matching,
            parts={"terminal": terminal.detach(), "flow_matching": flow_matching.detach()},
        )

    def _arrival(self, x_t: Tensor, jump: Evaluation, d: Draws) -> Query:
        """Ask for the target velocity at the end point x_t + sg f(x_t, t, s, c, w)."""
        end_point = x_t + displacement(self.flow_map, jump.F.detach(), d.t, d.s, d.w)
        return Query(end_point, d.s, d.s, d.c, d.w, weights=TARGET, gradient=False)

    def _terminal(self, jump: Evaluation, arrival: Evaluation, d: Draws) -> Tensor:
        """Return the terminal term (B,), before division by w²."""
        df_ds = derivative(self.flow_map, jump.F, jump.derivative, d.t, d.s, d.w)
        u_end = velocity(self.flow_map, arrival.F, d.s, d.w)
        return torch.where(d.t == d.s, 0.0, mean_square(df_ds - u_end))
