"""The residual stream: what layers add to tokens, and what the next layer sees of them.

Shape letters: B batch, N tokens, D hidden size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from components.precision import autocast_dtype
from framework.protocols import fuses_modulation


class Stream(NamedTuple):
    """What goes from block to block: tokens + gate branch, not added up yet.

    The next block adds them in the kernel that normalises the sum.

    Attributes:
        tokens: (B, N, D).
        branch: (B, N, D), what the last layer adds.
        gate: (B, 1, D), its factor.
    """

    tokens: Tensor
    branch: Tensor
    gate: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> Stream:
        """Return a stream of nothing but tokens, in the types of one that a block returns."""
        nothing = torch.zeros_like(tokens, dtype=autocast_dtype(tokens))
        return cls(tokens, nothing, nothing[:, :1])

    def seen(self, norm: nn.Module, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum (B, N, D), and as a layer sees it, by shift and scale (B, 2, D)."""
        return joined(norm, self.tokens, self.branch, torch.cat((self.gate, vectors), dim=1))


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
