"""Flow matching."""

from __future__ import annotations

from collections.abc import Mapping

from components.losses.draws import draw
from components.losses.velocity import TARGET, VelocityTerm
from components.weight_averages.constant import ConstantAverage, Decay
from framework import register
from framework.protocols import (
    Batch,
    Evaluate,
    FlowMap,
    Guidance,
    LossTerms,
    TimeSampler,
    WeightAverage,
)


@register.loss("flow_matching")
class FlowMatching:
    """The velocity alone.

    || u(x_s', s', c, w) - [w v + (1 - w) u_target(x_s', s', empty, 1)] ||² / w², the norm being a
    mean over elements.

    Without guidance the target is v (Lipman et al., "Flow Matching for Generative Modeling", 2023).
    Times are the sampler's s'. It is what `tvm` becomes with t = s everywhere.

    Args:
        time_sampler: draws s'.
        guidance: draws w and drops labels.
        flow_map: scale of the velocity.
        target_decay: decay of the average of the weights behind u_target; 0 takes the weights.
    """

    def __init__(
        self,
        time_sampler: TimeSampler,
        guidance: Guidance,
        flow_map: FlowMap,
        target_decay: Decay = 0.99,
    ) -> None:
        self.time_sampler, self.guidance, self.flow_map = time_sampler, guidance, flow_map
        self.target = ConstantAverage(target_decay)

    def averages(self) -> Mapping[str, WeightAverage]:
        """Return the target weights' average, which only guidance needs."""
        return {} if self.guidance.weight == 1 else {TARGET: self.target}

    def __call__(self, batch: Batch, evaluate: Evaluate) -> LossTerms:
        """Return the loss (B,) with its part `flow_matching`."""
        d = draw(batch, self.time_sampler, self.guidance)
        fm = VelocityTerm(batch, d, self.flow_map, self.guidance)
        now, *empty = evaluate(fm.query, *fm.target_queries)
        total = fm.value(now, tuple(empty)) / d.w.square()
        return LossTerms(total, {"flow_matching": total.detach()})
