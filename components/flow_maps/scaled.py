"""The scaled parameterization (Sec. 4)."""

from __future__ import annotations

from torch import Tensor

from framework import register


@register.flow_map("scaled")
class Scaled:
    """f = (s - t) w F, so that u = w F: the network's output keeps its size under guidance."""

    def gamma(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return (s - t) w (B,)."""
        return (s - t) * w

    def dgamma_ds(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return w (B,)."""
        return w
