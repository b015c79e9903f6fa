"""From the network's output F to displacement and velocity (Sec. 4 and App. A.1).

B is the batch; F, dF and x are (B, ...), times and weights (B,).
"""

from __future__ import annotations

from torch import Tensor

from framework.protocols import FlowMap


def expand(v: Tensor, like: Tensor) -> Tensor:
    """Return v (B,) as (B, 1, ..., 1), ready to multiply `like` (B, ...)."""
    return v.reshape(-1, *[1] * (like.ndim - 1))


def displacement(flow_map: FlowMap, F: Tensor, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
    """Return f(x_t, t, s) = gamma(t, s, w) F for F = F(x_t, t, s, c, w)."""
    return expand(flow_map.gamma(t, s, w), F) * F


def velocity(flow_map: FlowMap, F: Tensor, t: Tensor, w: Tensor) -> Tensor:
    """Return u(x_t, t) = (d gamma/ds at s = t) F for F = F(x_t, t, t, c, w) (4)."""
    return expand(flow_map.dgamma_ds(t, t, w), F) * F


def derivative(flow_map: FlowMap, F: Tensor, dF: Tensor, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
    """Return df/ds = (d gamma/ds) F + gamma dF/ds (17)."""
    return expand(flow_map.dgamma_ds(t, s, w), F) * F + expand(flow_map.gamma(t, s, w), F) * dF
