"""The gap sampler (Sec. 7.3)."""

from __future__ import annotations

from torch import Tensor

from components.checks import probability
from components.time_samplers.logit_normal import LogitNormal, times_of
from framework import register
from framework.protocols import Times
from framework.settings import Positive, Probability


@register.time_sampler("gap")
class Gap:
    """The length of the jump g ~ LN, then s ~ LN truncated to s <= 1 - g, and t = s + g.

    Args:
        gap_mean: mean of logit(g).
        gap_std: its standard deviation.
        s_mean: mean of logit(s) before truncation.
        s_std: its standard deviation.
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
        self.gap = LogitNormal("gap", gap_mean, gap_std)
        self.s = LogitNormal("s", s_mean, s_std)
        self.equal_share = probability("equal_share", equal_share)

    def __call__(self, u: Tensor) -> Times:
        """Map uniforms (B, 4) to times: gap, end, unused, coin."""
        gap = self.gap.quantile(u[:, 0])
        s = self.s.quantile_below(u[:, 1], 1 - gap)
        return times_of(s + gap, s, u[:, 3], self.equal_share)
