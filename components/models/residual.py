"""The residual stream: what layers add to tokens, and what the next layer sees of them.

Shape letters: B batch, N tokens, D hidden size.
"""

from __future__ import annotations

from torch import Tensor, nn

from framework.protocols import fuses_modulation


def inward(norm: nn.Module, tokens: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return tokens (B, N, D), and as a layer sees them: norm(tokens) (1 + scale) + shift.

    `vectors` (B, 2, D) are shift and scale [release].
    """
    if fuses_modulation(norm) and norm.fuses(tokens):
        return norm.fused(tokens, vectors)
    shift, scale = vectors.split(1, dim=1)  # (B, 1, D)
    return tokens, norm(tokens) * (1 + scale) + shift


def joined(
    norm: nn.Module, tokens: Tensor, branch: Tensor, vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Return tokens + gate branch (B, N, D), and as the next layer sees them, like `inward`.

    `vectors` (B, 3, D) are gate, shift and scale.
    """
    if fuses_modulation(norm) and norm.fuses(tokens):
        return norm.fused(tokens, vectors, branch)
    return inward(norm, tokens + vectors[:, :1] * branch, vectors[:, 1:])
