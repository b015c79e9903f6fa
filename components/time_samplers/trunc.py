"""The truncated sampler (Sec. 7.3)."""

from __future__ import annotations

from torch import Tensor

from components.checks import probability
from components.time_samplers.logit_normal import LogitNormal, times_of
from framework import register
from framework.protocols import Times
from framework.settings import Positive, Probability


@register.time_sampler("trunc")
class Trunc:
    """t ~ LN(t_mean, t_std), then s ~ LN(s_mean, s_std) truncated to s <= t.

    The defaults are the best of Table 3.

    Args:
        t_mean: mean of logit(t).
        t_std: its standard deviation.
        s_mean: mean of logit(s) before truncation.
        s_std: its standard deviation.
        equal_share: share of samples with t = s.
    """

    def __init__(
        self,
        t_mean: float = 1.0,
        t_std: Positive = 1.0,
        s_mean: float = -0.4,
        s_std: Positive = 1.0,
        equal_share: Probability = 0.0,
    ) -> None:
        self.t = LogitNormal("t", t_mean, t_std)
        self.s = LogitNormal("s", s_mean, s_std)
        self.equal_share = probability("equal_share", equal_share)

    def __call__(self, u: Tensor) -> Times:
        """Map uniforms (B, 4) to times: start, end, unused, coin."""
        t = self.t.quantile(u[:, 0])
        return times_of(t, self.s.quantile_below(u[:, 1], t), u[:, 3], self.equal_share)
