"""The blocks of a diffusion transformer, modulated by a condition.

Shape letters: B batch, N tokens, D hidden size, H heads, d head size, K modulation vectors.
"""

from __future__ import annotations

from collections.abc import Callable

from einops import rearrange
from torch import Tensor, nn

from components.checks import module
from components.models.activation import tanh_gelu
from components.models.layers import Linear
from components.models.residual import Stream, inward, joined
from framework.protocols import (
    Attention,
    ModulationNorm,
    Normalization,
    QKNorm,
    fuses_heads,
)


class Modulation(nn.Module):
    """K vectors from a condition: Linear(SiLU(condition)), each normalised on its own."""

    def __init__(
        self, hidden_size: int, vectors: int, norm: Callable[[int], ModulationNorm]
    ) -> None:
        super().__init__()
        self.vectors = vectors
        self.linear = Linear(hidden_size, vectors * hidden_size)
        self.norm = module("modulation_norm", norm(hidden_size))

    def forward(self, condition: Tensor) -> Tensor:
        """Return K vectors (B, K, D) from a condition (B, D)."""
        projected = self.linear(nn.functional.silu(condition))
        vectors: Tensor = self.norm(rearrange(projected, "b (k d) -> b k d", k=self.vectors))
        return vectors


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
        # Normalised before heads come forward, in the order of memory: one kernel when compiled.
        normalised = self._normalised(self.qkv(tokens))
        mixed = self.attention(*(rearrange(x, "b n h d -> b h n d") for x in normalised))
        projected: Tensor = self.projection(rearrange(mixed, "b h n d -> b n (h d)"))
        return projected

    def _normalised(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries and keys, normalised, and values, (B, N, H, d) each."""
        heads, norm, keys = self.num_heads, self.q_norm, self.k_norm
        alike = type(norm) is type(keys) and fuses_heads(keys)
        if alike and fuses_heads(norm) and norm.fuses(keys, qkv, heads):
            return norm.fused(keys, qkv, heads)
        q, k, v = (rearrange(x, "b n (h d) -> b n h d", h=heads) for x in qkv.chunk(3, dim=-1))
        return norm(q), keys(k), v


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

    def forward(self, stream: Stream, condition: Tensor) -> Stream:
        """Return the stream behind a block from that before it and the condition (B, D)."""
        vectors = self.modulation(condition)  # shift_a, scale_a; gate_a, shift_m, scale_m; gate_m
        before, between, gate = vectors.split((2, 3, 1), dim=1)
        tokens, seen = stream.seen(self.attention_norm, before, self.mlp_norm)
        mixed = self.attention(seen)
        tokens, seen = joined(self.mlp_norm, tokens, mixed, between)
        # Of the first block's strides: otherwise the others were compiled apart from it.
        return Stream(tokens, self.mlp(seen), gate.contiguous())


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

    def forward(self, tokens: Tensor | Stream, condition: Tensor) -> Tensor:
        """Return (B, N, outputs) from tokens (B, N, D) or a stream and the condition (B, D)."""
        vectors = self.modulation(condition)
        if isinstance(tokens, Stream):
            seen = tokens.last_seen(self.norm, vectors)
        else:
            _, seen = inward(self.norm, tokens, vectors)
        projected: Tensor = self.linear(seen)
        return projected
