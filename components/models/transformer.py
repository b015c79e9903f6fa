"""The blocks of a diffusion transformer, modulated by a condition.

Shape letters: B batch, N tokens, D hidden size, H heads, d head size, K modulation vectors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

from components.checks import module
from components.models.activation import tanh_gelu
from components.models.layers import Linear
from framework.protocols import Attention, ModulationNorm, Normalization, QKNorm


class Modulation(nn.Module):
    """K vectors from a condition: Linear(SiLU(condition)), each normalised on its own."""

    def __init__(
        self, hidden_size: int, vectors: int, norm: Callable[[int], ModulationNorm]
    ) -> None:
        super().__init__()
        self.vectors = vectors
        self.linear = Linear(hidden_size, vectors * hidden_size)
        self.norm = module("modulation_norm", norm(hidden_size))

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Return K vectors (B, 1, D) from a condition (B, D)."""
        projected = self.linear(nn.functional.silu(condition))
        vectors: Tensor = self.norm(rearrange(projected, "b (k d) -> b k d", k=self.vectors))
        return torch.split(vectors, 1, dim=1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return x (1 + scale) + shift for tokens (B, N, D) and vectors (B, 1, D) [release]."""
    return x * (1 + scale) + shift


class SelfAttention(nn.Module):
    """Multi-head self-attention with normalised queries and keys."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        qk_norm: Callable[[int], QKNorm],
        attention: Attention,
    ) -> None:
        super().__init__()
        head_size = hidden_size // num_heads
        self.num_heads = num_heads
        self.qkv = Linear(hidden_size, 3 * hidden_size)
        self.q_norm = module("qk_norm", qk_norm(head_size))
        self.k_norm = module("qk_norm", qk_norm(head_size))
        self.attention = attention
        self.projection = Linear(hidden_size, hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens (B, N, D)."""
        qkv = self.qkv(tokens).chunk(3, dim=-1)
        q, k, v = (rearrange(x, "b n (h d) -> b n h d", h=self.num_heads) for x in qkv)
        # Normalised before heads come forward, in the order of memory: one kernel when compiled.
        q, k, v = (rearrange(x, "b n h d -> b h n d") for x in (self.q_norm(q), self.k_norm(k), v))
        mixed = self.attention(q, k, v)
        projected: Tensor = self.projection(rearrange(mixed, "b h n d -> b n (h d)"))
        return projected


class MLP(nn.Module):
    """Linear, tanh-GELU, linear on each token."""

    def __init__(self, hidden_size: int, inner_size: int) -> None:
        super().__init__()
        self.expand = Linear(hidden_size, inner_size)
        self.contract = Linear(inner_size, hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (B, N, D)."""
        contracted: Tensor = self.contract(tanh_gelu(self.expand(tokens)))
        return contracted


class Block(nn.Module):
    """Attention and MLP, both modulated and gated (equation 16, in the release's form).

    x <- x + gate_a attention(norm(x) (1 + scale_a) + shift_a), and the same with the MLP.
    """

    def __init__(
        self,
        attention: SelfAttention,
        mlp: MLP,
        modulation: Modulation,
        normalization: Callable[[], Normalization],
    ) -> None:
        super().__init__()
        self.attention_norm = module("normalization", normalization())
        self.attention = attention
        self.mlp_norm = module("normalization", normalization())
        self.mlp = mlp
        self.modulation = modulation

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Return tokens (B, N, D) from tokens (B, N, D) and the condition (B, D)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(condition)
        inward = modulate(self.attention_norm(tokens), shift_a, scale_a)
        tokens = tokens + gate_a * self.attention(inward)
        inward = modulate(self.mlp_norm(tokens), shift_m, scale_m)
        return torch.add(tokens, gate_m * self.mlp(inward))


class Output(nn.Module):
    """Modulated normalisation and the last linear layer (equation 74)."""

    def __init__(
        self,
        hidden_size: int,
        outputs: int,
        modulation: Modulation,
        normalization: Callable[[], Normalization],
    ) -> None:
        super().__init__()
        self.norm = module("normalization", normalization())
        self.modulation = modulation
        self.linear = Linear(hidden_size, outputs)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Return (B, N, outputs) from tokens (B, N, D) and the condition (B, D)."""
        shift, scale = self.modulation(condition)
        projected: Tensor = self.linear(modulate(self.norm(tokens), shift, scale))
        return projected
