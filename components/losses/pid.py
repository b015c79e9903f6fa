"""Physics-informed distillation and its naive combination with flow matching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from components.checks import require
from components.losses.draws import draw, mean_square
from components.losses.velocity import TARGET, VelocityTerm
from framework import register
from framework.flow import derivative, displacement, velocity
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


class Frozen:
    """An average that never moves: the weights with which training starts."""

    def decay(self, step: int) -> float:
        """Return 1: nothing new is taken up."""
        return 1.0


class Current:
    """An average that is the weights themselves."""

    def decay(self, step: int) -> float:
        """Return 0: nothing of the past is kept."""
        return 0.0


@register.loss("pid")
class PID:
    """Physics-informed distillation (equation 19; Tee et al., 2024): jumps from noise only.

    || d f(x_1, s)/ds - sg u_phi(x_1 + f(x_1, s), s) ||² / w², t being 1. With the teacher `frozen`
    u_phi is the network with the weights that training starts from: `train.start` names the run of
    a trained velocity model. With `own` it is the network's own velocity and the flow-matching term
    is added: the naive combination that the paper calls unstable.

    Args:
        time_sampler: draws s (its t is not used) and s'.
        guidance: draws w and drops labels.
        flow_map: scale of the displacement.
        teacher: whose velocity is followed, `frozen` or `own`.
    """

    def __init__(
        self,
        time_sampler: TimeSampler,
        guidance: Guidance,
        flow_map: FlowMap,
        teacher: Literal["frozen", "own"] = "frozen",
    ) -> None:
        require(teacher in ("frozen", "own"), f"teacher is {teacher!r}: frozen or own")
        self.time_sampler, self.guidance, self.flow_map = time_sampler, guidance, flow_map
        self.own = teacher == "own"

    def averages(self) -> Mapping[str, WeightAverage]:
        """Return the weights behind the target."""
        return {TARGET: Current() if self.own else Frozen()}

    def __call__(self, batch: Batch, evaluate: Evaluate) -> LossTerms:
        """Return the loss (B,) with its parts `terminal` and, with `own`, `flow_matching`."""
        d = draw(batch, self.time_sampler, self.guidance)
        one = torch.ones_like(d.s)
        fm = VelocityTerm(batch, d, self.flow_map, self.guidance)
        jump_query = Query(batch.noise, one, d.s, d.c, d.w, tangent=Tangent(s=one))
        jump, *now = evaluate(jump_query, *([fm.query] if self.own else []))
        end_point = batch.noise + displacement(self.flow_map, jump.F.detach(), one, d.s, d.w)
        arrival_query = Query(end_point, d.s, d.s, d.c, d.w, weights=TARGET, gradient=False)
        arrival, *empty = evaluate(arrival_query, *(fm.target_queries if self.own else ()))
        df_ds = derivative(self.flow_map, jump.F, jump.derivative, one, d.s, d.w)
        terminal = mean_square(df_ds - velocity(self.flow_map, arrival.F, d.s, d.w))
        terminal = torch.where(d.s == one, 0.0, terminal) / d.w.square()
        if not self.own:
            return LossTerms(terminal, {"terminal": terminal.detach()})
        return self._combined(terminal, fm.value(now[0], tuple(empty)) / d.w.square())

    def _combined(self, terminal: Tensor, flow_matching: Tensor) -> LossTerms:
        parts = {"terminal": terminal.detach(), "flow_matching": flow_matching.detach()}
        return LossTerms(terminal + flow_matching, parts)
