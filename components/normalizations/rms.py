"""RMSNorm without parameters: the paper's choice for tokens."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from torch import Tensor, nn

from components.checks import positive
from components.precision import autocast_dtype, rms_normalised
from framework import register
from framework.settings import Positive


@register.normalization("rms")
class RMS(nn.Module):
    """x / sqrt(mean(x²) + eps), without parameters (semi-Lipschitz control).

    Args:
        dim: size of the last axis.
        eps: what is added inside the root.
    """

    def __init__(self, dim: int, eps: Positive = 1e-6) -> None:
        super().__init__()
        self.eps = positive("eps", eps)
        self._takes: Callable[[Tensor], bool] = lambda tokens: False
        if find_spec("triton") is not None and type(self).forward is RMS.forward:
            from kernels import modulated_norm

            self._takes, self._fused = modulated_norm.takes, modulated_norm.modulated_norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim)."""
        return rms_normalised(x, self.eps).to(x.dtype)

    def fuses(self, tokens: Tensor) -> bool:
        """Return whether tokens (B, N, D) have kernels: compiled, on a GPU."""
        return self._takes(tokens)

    def fused(
        self,
        tokens: Tensor,
        vectors: Tensor,
        branch: Tensor | None = None,
        earlier: tuple[Tensor, Tensor] | None = None,
        add_up: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Return tokens + gate branch (B, N, D), and its norm times 1 + scale, plus shift."""
        dtype = autocast_dtype(tokens)
        return self._fused(tokens, vectors, self.eps, dtype, branch, earlier, add_up)
