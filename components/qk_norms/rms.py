"""RMSNorm of queries and keys: the paper's choice."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from components.checks import positive
from components.precision import rms_normalised
from framework import register
from framework.settings import Positive


@register.qk_norm("rms")
class QKRMS(nn.Module):
    """scale * x / sqrt(mean(x²) + eps) with a learnable scale of head size, shared by the heads.

    Args:
        dim: head size.
        eps: what is added inside the root.
    """

    def __init__(self, dim: int, eps: Positive = 1e-6) -> None:
        super().__init__()
        self.eps = positive("eps", eps)
        self.scale = nn.Parameter(torch.ones(dim))
        self._takes: Callable[[Tensor, int], bool] = lambda qkv, heads: False
        if find_spec("triton") is not None and type(self).forward is QKRMS.forward:
            from kernels import head_norm

            self._takes, self._fused = head_norm.takes, head_norm.head_norm

    def reset_parameters(self) -> None:
        """Set the scale to one."""
        nn.init.ones_(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim)."""
        return (rms_normalised(x, self.eps) * self.scale).to(x.dtype)

    def fuses(self, keys: QKRMS, qkv: Tensor, heads: int) -> bool:
        """Return whether a projection (B, N, 3 H d) has kernels: compiled, on a GPU."""
        return keys.eps == self.eps and self._takes(qkv, heads)

    def fused(self, keys: QKRMS, qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return normalised queries, keys (by the norm of keys), and values, (B, N, H, d) each."""
        return self._fused(qkv, self.scale, keys.scale, heads, self.eps)
