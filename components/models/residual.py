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
        self, norm: nn.Module, vectors: Tensor, then: nn.Module
    ) -> tuple[Tensor | LeftSum, Tensor]:
        """Return the sum (B, N, D), and as a layer sees it, by shift and scale (B, 2, D).

        The sum is for `joined` with the norm `then`, to which it is left if both have the same
        kernels: whose gradients are whose is between them.
        """
        alike = type(norm) is type(then)
        if alike and _fused(norm, self.tokens) and _fused(then, self.tokens):
            tokens, seen = norm.fused(self.tokens, self._gated(vectors), self.branch, add_up=False)
            return LeftSum(tokens, self.branch, self.gate), seen
        return joined(norm, self.tokens, self.branch, self._gated(vectors))

    def last_seen(self, norm: nn.Module, vectors: Tensor) -> Tensor:
        """Return the sum as the last layer sees it, which nothing else needs."""
        if _fused(norm, self.tokens):
            return norm.fused(self.tokens, self._gated(vectors), self.branch, add_up=False)[1]
        return joined(norm, self.tokens, self.branch, self._gated(vectors))[1]

    def _gated(self, vectors: Tensor) -> Tensor:
        return torch.cat((self.gate, vectors), dim=1)


class LeftSum(NamedTuple):
    """A stream's sum that one norm has seen and left to another to add up.

    The gradients of branch and gate are the first norm's, by that of the tokens: whoever adds them
    up elsewhere has them twice.

    Attributes:
        tokens, branch, gate: the stream's.
    """

    tokens: Tensor
    branch: Tensor
    gate: Tensor


def inward(norm: nn.Module, tokens: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return tokens (B, N, D), and as a layer sees them: norm(tokens) (1 + scale) + shift.

    `vectors` (B, 2, D) are shift and scale [release].
    """
    if _fused(norm, tokens):
        return norm.fused(tokens, vectors)
    shift, scale = vectors.split(1, dim=1)  # (B, 1, D)
    return tokens, norm(tokens) * (1 + scale) + shift


def joined(
    norm: nn.Module, tokens: Tensor | LeftSum, branch: Tensor, vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Return tokens + gate branch (B, N, D), and as the next layer sees them, like `inward`.

    `vectors` (B, 3, D) are gate, shift and scale. Tokens may be a sum that was left to this norm.
    """
    if isinstance(tokens, LeftSum):
        assert fuses_modulation(norm)
        return norm.fused(tokens.tokens, vectors, branch, (tokens.branch, tokens.gate))
    if _fused(norm, tokens):
        return norm.fused(tokens, vectors, branch)
    return inward(norm, tokens + vectors[:, :1] * branch, vectors[:, 1:])


def _fused(norm: nn.Module, tokens: Tensor) -> TypeGuard[FusingNormalization]:
    return fuses_modulation(norm) and norm.fuses(tokens)
