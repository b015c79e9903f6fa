"""Two uniform times in order."""

from __future__ import annotations

import torch
from torch import Tensor

from components.checks import probability
from components.time_samplers.logit_normal import times_of
from framework import register
from framework.protocols import Times
from framework.settings import Probability


@register.time_sampler("uniform")
class Uniform:
    """t is the larger and s the smaller of two independent uniform times.

    Args:
        equal_share: share of samples with t = s.
    """

    def __init__(self, equal_share: Probability = 0.0) -> None:
        self.equal_share = probability("equal_share", equal_share)

    def __call__(self, u: Tensor) -> Times:
        """Map uniforms (B, 4) to times: one, the other, unused, coin."""
        t, s = torch.maximum(u[:, 0], u[:, 1]), torch.minimum(u[:, 0], u[:, 1])
        return times_of(t, s, u[:, 3], self.equal_share)
