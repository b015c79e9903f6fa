"""Precision in which parts compute what a low one would spoil."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32, or as it is where that is more precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def rms_normalised(x: Tensor, eps: float) -> Tensor:
    """Return x / sqrt(mean(x²) + eps) over the last axis, at least in float32."""
    wide = at_least_float32(x)
    return wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)


def autocast_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a layer multiplies x: autocast's, or its own."""
    device = x.device.type
    if x.is_meta or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)
