"""The displacement proportional to the length of the jump."""

from __future__ import annotations

import torch
from torch import Tensor

from framework import register


@register.flow_map("plain")
class Plain:
    """f = (s - t) F, so that u = F."""

    def gamma(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return s - t (B,)."""
        return s - t

    def dgamma_ds(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return ones (B,)."""
        return torch.ones_like(s)
