"""The diffusion transformer with two times."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

from components.checks import require
from components.models.condition import Condition
from components.models.initialization import initialize
from components.models.positions import sin_cos_positions
from components.models.residual import Stream
from components.models.transformer import MLP, Block, Modulation, Output, SelfAttention
from framework import register
from framework.protocols import (
    Attention,
    Initializer,
    ModulationNorm,
    Normalization,
    QKNorm,
    SecondTime,
    TimeEmbedding,
)
from framework.settings import PositiveInt


@register.model("dit")
class DiT(nn.Module):
    """The paper's network: DiT (Peebles and Xie, 2023) with a second time and the guidance weight.

    The paper's sizes (hidden_size, depth, num_heads): S 384, 12, 6; B 768, 12, 12; L 1024, 24, 16;
    XL 1152, 28, 18.

    Args:
        shape: (C, H, W) of one example.
        num_classes: classes without the empty one, which gets this number.
        hidden_size: size D of a token; a multiple of 4 and of num_heads.
        depth: number of blocks.
        num_heads: attention heads.
        time_embedding: makes the embeddings of t, of the second time and of beta = 1/w.
        second_time: how s enters.
        normalization: of tokens, before attention, MLP and the output layer.
        modulation_norm: of each shift, scale and gate.
        qk_norm: of queries and keys.
        initializer: of the weights.
        attention: how queries, keys and values are put together.
        patch_size: height and width of the patch that makes a token.
        mlp_ratio: inner size of the MLP relative to D.
        guidance_embedding: whether beta = 1/w enters the condition.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        hidden_size: PositiveInt,
        depth: PositiveInt,
        num_heads: PositiveInt,
        time_embedding: Callable[[int], TimeEmbedding],
        second_time: Callable[[Callable[[], TimeEmbedding]], SecondTime],
        normalization: Callable[[int], Normalization],
        modulation_norm: Callable[[int], ModulationNorm],
        qk_norm: Callable[[int], QKNorm],
        initializer: Initializer,
        attention: Attention,
        patch_size: PositiveInt = 2,
        mlp_ratio: PositiveInt = 4,
        guidance_embedding: bool = True,
    ) -> None:
        super().__init__()
        _check_sizes(shape, hidden_size, num_heads, patch_size)
        channels, height, width = shape
        self.patch_size, self.rows = patch_size, height // patch_size
        self.initializer = initializer
        patch = channels * patch_size**2

        def norm() -> Normalization:
            return normalization(hidden_size)

        def block() -> Block:
            return Block(
                SelfAttention(hidden_size, num_heads, qk_norm, attention),
                MLP(hidden_size, mlp_ratio * hidden_size),
                Modulation(hidden_size, 6, modulation_norm),
                norm,
            )

        self.condition = Condition(
            hidden_size, num_classes, time_embedding, second_time, guidance_embedding
        )
        self.patch_embedding = nn.Linear(patch, hidden_size)
        positions = sin_cos_positions(self.rows, width // patch_size, hidden_size)
        self.register_buffer("positions", positions, persistent=False)
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.output = Output(hidden_size, patch, Modulation(hidden_size, 2, modulation_norm), norm)

    def initialize(self, generators: Callable[[str], torch.Generator]) -> None:
        """Set every parameter, each from its own stream."""
        initialize(self, self.initializer, generators)

    def embed(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> tuple[Stream, Tensor]:
        """Return the residual stream (B, N, D) and the condition (B, D)."""
        p = self.patch_size
        patches = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=p, q=p)
        tokens = self.patch_embedding(patches) + self.get_buffer("positions")
        return Stream.of(tokens), self.condition(t, s, c, w)

    def head(self, stream: Stream, condition: Tensor) -> Tensor:
        """Return F (B, C, H, W) from the residual stream (B, N, D) and the condition (B, D)."""
        patches = self.output(stream, condition)
        F: Tensor = rearrange(
            patches,
            "b (h w) (p q c) -> b c (h p) (w q)",
            h=self.rows,
            p=self.patch_size,
            q=self.patch_size,
        )
        return F

    def forward(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return F (B, C, H, W)."""
        stream, condition = self.embed(x, t, s, c, w)
        for block in self.blocks:
            stream = block(stream, condition)
        return self.head(stream, condition)


def _check_sizes(shape: tuple[int, ...], hidden_size: int, num_heads: int, patch_size: int) -> None:
    require(
        len(shape) == 3,
        f"models.dit takes images (C, H, W), and the examples have shape {tuple(shape)}",
    )
    require(
        shape[1] % patch_size == 0 and shape[2] % patch_size == 0,
        f"models.dit.patch_size is {patch_size}: it has to divide the images' "
        f"{shape[1]}x{shape[2]}",
    )
    require(
        hidden_size % num_heads == 0,
        f"models.dit.hidden_size is {hidden_size}: it has to be a multiple of num_heads "
        f"({num_heads})",
    )
    require(
        hidden_size % 4 == 0,
        f"models.dit.hidden_size is {hidden_size}: positions need a multiple of 4",
    )
