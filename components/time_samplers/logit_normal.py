"""The logit-normal distribution by its inverse distribution function, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from components.checks import finite, positive
from framework.protocols import Times


class LogitNormal:
    """LN(mean, std): the sigmoid of a normal. Its draws are increasing functions of a uniform."""

    def __init__(self, name: str, mean: float, std: float) -> None:
        self.mean = finite(f"{name}_mean", mean)
        self.std = positive(f"{name}_std", std)

    def quantile(self, u: Tensor) -> Tensor:
        """Return the value below which lies a share u of the distribution."""
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))

    def mass_below(self, bound: Tensor) -> Tensor:
        """Return the share of the distribution below the bound, which lies in [0, 1]."""
        below: Tensor = torch.special.ndtr((torch.logit(bound) - self.mean) / self.std)
        return below

    def quantile_below(self, u: Tensor, bound: Tensor) -> Tensor:
        """Return the quantile of the distribution truncated to [0, bound], never above it."""
        return torch.minimum(self.quantile(u * self.mass_below(bound)), bound)


def times_of(
    t: Tensor, s: Tensor, coin: Tensor, equal_share: float, s_velocity: Tensor | None = None
) -> Times:
    """Return 1 >= t >= s >= 0 in float32 from float64, with t = s where coin < equal_share.

    Rounding to float32 is monotone: it keeps the order to the last bit.
    """
    t = torch.where(coin < equal_share, s, t).clamp(max=1)
    start, end = t.float(), s.float()
    return Times(start, end, end if s_velocity is None else s_velocity.float())
