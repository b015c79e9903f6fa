"""The gap* sampler (Sec. 7.3, Fig. 9): the paper's default."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from components.time_samplers.gap import Gap
from framework import register
from framework.protocols import Times
from framework.settings import Positive, Probability


@register.time_sampler("gap_star")
class GapStar:
    """As `gap`, with an independent s' ~ LN(s_mean, s_std) for the flow-matching term.

    Args:
        gap_mean: mean of logit(g).
        gap_std: its standard deviation.
        s_mean: mean of logit(s) before truncation, and of logit(s').
        s_std: their standard deviation.
        equal_share: share of samples with t = s.
    """

    def __init__(
        self,
        gap_mean: float = -0.8,
        gap_std: Positive = 1.0,
        s_mean: float = -0.4,
        s_std: Positive = 1.0,
        equal_share: Probability = 0.0,
    ) -> None:
        self.gap = Gap(gap_mean, gap_std, s_mean, s_std, equal_share)

    def __call__(self, u: Tensor) -> Times:
        """Map uniforms (B, 4) to times: gap, end, s', coin."""
        return replace(self.gap(u), s_velocity=self.gap.s.quantile(u[:, 2]).float())
