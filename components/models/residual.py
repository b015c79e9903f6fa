"""The residual stream: what layers add to tokens, and what the next layer sees of them.

Shape letters: B batch, N tokens, D hidden size.
"""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from components.precision import autocast_dtype
from framework.protocols import FusingNormalization, fuses_modulation


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
        """Return a stream of nothing but tokens, in types and strides of one behind a block."""
        nothing = torch.zeros_like(tokens, dtype=autocast_dtype(tokens))
        return cls(tokens, nothing, nothing[:, :1].contiguous())

    def seen(
        self, norm: nn.Module, vectors: Tensor, then: nn.Module | None = None
    ) -> tuple[Tensor | Stream, Tensor]:
        """Return the sum (B, N, D), and as a layer sees it, by shift and scale (B, 2, D).

        Where both norms have kernels, the sum for `then` is left to that norm, and a stream.
        """
        vectors = torch.cat((self.gate, vectors), dim=1)
        if _fused(norm, self.tokens) and (then is None or _fused(then, self.tokens)):
            tokens, seen = norm.fused(self.tokens, vectors, self.branch, add_up=False)
            return Stream(tokens, self.branch, self.gate), seen
        return joined(norm, self.tokens, self.branch, vectors)


def inward(norm: nn.Module, tokens: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return tokens (B, N, D), and as a layer sees them: norm(tokens) (1 + scale) + shift.

    `vectors` (B, 2, D) are shift and scale [release].
    """
    if _fused(norm, tokens):
        return norm.fused(tokens, vectors)
    shift, scale = vectors.split(1, dim=1)  # (B, 1, D)
    return tokens, norm(tokens) * (1 + scale) + shift


def joined(
    norm: nn.Module, tokens: Tensor | Stream, branch: Tensor, vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Return tokens + gate branch (B, N, D), and as the next layer sees them, like `inward`.

    `vectors` (B, 3, D) are gate, shift and scale. A stream is one that was left to this norm.
    """
    if isinstance(tokens, Stream):
        assert fuses_modulation(norm)
        return norm.fused(tokens.tokens, vectors, branch, (tokens.branch, tokens.gate))
    if _fused(norm, tokens):
        return norm.fused(tokens, vectors, branch)
    return inward(norm, tokens + vectors[:, :1] * branch, vectors[:, 1:])


def _fused(norm: nn.Module, tokens: Tensor) -> TypeGuard[FusingNormalization]:
    return fuses_modulation(norm) and norm.fuses(tokens)
