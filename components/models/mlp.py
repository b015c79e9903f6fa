"""A small network for points."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from components.checks import module, require
from components.models.condition import Condition
from components.models.initialization import initialize
from components.models.residual import inward
from components.models.transformer import MLP, Modulation, Output
from framework import register
from framework.protocols import (
    Initializer,
    ModulationNorm,
    Normalization,
    SecondTime,
    TimeEmbedding,
)
from framework.settings import PositiveInt


class PointBlock(nn.Module):
    """x <- x + gate mlp(norm(x) (1 + scale) + shift): a DiT's block without attention."""

    def __init__(self, normalization: Normalization, mlp: MLP, modulation: Modulation) -> None:
        super().__init__()
        self.norm = module("normalization", normalization)
        self.mlp = mlp
        self.modulation = modulation

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Return tokens (B, 1, D) from tokens (B, 1, D) and the condition (B, D)."""
        before, gate = self.modulation(condition).split((2, 1), dim=1)  # of (B, 3, D)
        tokens, seen = inward(self.norm, tokens, before)
        return torch.add(tokens, gate * self.mlp(seen))


@register.model("mlp")
class PointMLP(nn.Module):
    """A residual network for points (C,), modulated like the DiT; the point is its only token.

    Args:
        shape: (C,) of one point.
        num_classes: classes without the empty one, which gets this number.
        hidden_size: size D of the hidden layers.
        depth: number of residual blocks.
        time_embedding: makes the embeddings of t, of the second time and of beta = 1/w.
        second_time: how s enters.
        normalization: of hidden vectors.
        modulation_norm: of each shift, scale and gate.
        initializer: of the weights.
        mlp_ratio: inner size of a block relative to D.
        guidance_embedding: whether beta = 1/w enters the condition.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        time_embedding: Callable[[int], TimeEmbedding],
        second_time: Callable[[Callable[[], TimeEmbedding]], SecondTime],
        normalization: Callable[[int], Normalization],
        modulation_norm: Callable[[int], ModulationNorm],
        initializer: Initializer,
        hidden_size: PositiveInt = 128,
        depth: PositiveInt = 4,
        mlp_ratio: PositiveInt = 2,
        guidance_embedding: bool = True,
    ) -> None:
        super().__init__()
        require(
            len(shape) == 1,
            f"models.mlp takes points (C,), and the examples have shape {tuple(shape)}",
        )
        self.initializer = initializer

        def block() -> PointBlock:
            return PointBlock(
                normalization(hidden_size),
                MLP(hidden_size, mlp_ratio * hidden_size),
                Modulation(hidden_size, 3, modulation_norm),
            )

        self.condition = Condition(
            hidden_size, num_classes, time_embedding, second_time, guidance_embedding
        )
        self.point_embedding = nn.Linear(shape[0], hidden_size)
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.output = Output(
            hidden_size,
            shape[0],
            Modulation(hidden_size, 2, modulation_norm),
            lambda: normalization(hidden_size),
        )

    def initialize(self, generators: Callable[[str], torch.Generator]) -> None:
        """Set every parameter, each from its own stream."""
        initialize(self, self.initializer, generators)

    def embed(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the point as a token (B, 1, D) and the condition (B, D)."""
        return self.point_embedding(x)[:, None], self.condition(t, s, c, w)

    def head(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Return F (B, C) from the token (B, 1, D) and the condition (B, D)."""
        F: Tensor = self.output(tokens, condition)
        return F.squeeze(1)

    def forward(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return F (B, C)."""
        tokens, condition = self.embed(x, t, s, c, w)
        for block in self.blocks:
            tokens = block(tokens, condition)
        return self.head(tokens, condition)
