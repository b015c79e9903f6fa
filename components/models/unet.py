"""A convolutional U-Net with two times."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from components.checks import module, require
from components.models.condition import Condition
from components.models.initialization import initialize
from components.models.residual import inward
from components.models.transformer import Modulation, Output
from framework import register
from framework.protocols import (
    Initializer,
    ModulationNorm,
    Normalization,
    SecondTime,
    TimeEmbedding,
)
from framework.settings import PositiveInt

Blocks = Callable[[], "ConvBlock"]


class ConvBlock(nn.Module):
    """x <- x + gate conv(GELU(conv(norm(x) (1 + scale) + shift))), the convolutions 3x3."""

    def __init__(self, size: int, normalization: Normalization, modulation: Modulation) -> None:
        super().__init__()
        self.norm = module("normalization", normalization)
        self.expand = nn.Conv2d(size, size, 3, padding=1)
        self.contract = nn.Conv2d(size, size, 3, padding=1)
        self.modulation = modulation

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return x (B, D, H, W) from x of that shape and the condition (B, D)."""
        before, gate = self.modulation(condition).split((2, 1), dim=1)  # of (B, 3, D)
        _, seen = inward(self.norm, x.flatten(2).transpose(1, 2), before)
        seen = seen.transpose(1, 2).reshape(x.shape)
        inner = nn.functional.gelu(self.expand(seen), approximate="tanh")
        return torch.add(x, gate.transpose(1, 2)[..., None] * self.contract(inner))


class Level(nn.Module):
    """One resolution: blocks on the way down, the levels below, blocks on the way up."""

    def __init__(self, size: int, depth: int, block: Blocks, below: nn.Module | None) -> None:
        super().__init__()
        self.down = nn.ModuleList(block() for _ in range(depth))
        self.below = below
        self.merge = nn.Conv2d(2 * size, size, 1) if below is not None else None
        self.up = nn.ModuleList(block() for _ in range(depth))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return x (B, D, H, W) from x of that shape and the condition (B, D)."""
        for block in self.down:
            x = block(x, condition)
        if self.below is not None and self.merge is not None:
            under = self.below(nn.functional.avg_pool2d(x, 2), condition)
            wide = under.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = self.merge(torch.cat([x, wide], dim=1))
        for block in self.up:
            x = block(x, condition)
        return x


@register.model("unet")
class UNet(nn.Module):
    """A convolutional U-Net (Ronneberger et al., 2015), conditioned and modulated like the DiT.

    Its resolutions differ in shape, so that it has no blocks of one signature and runs whole.

    Args:
        shape: (C, H, W) of one example.
        num_classes: classes without the empty one, which gets this number.
        time_embedding: makes the embeddings of t, of the second time and of beta = 1/w.
        second_time: how s enters.
        normalization: of each pixel's channels, before the convolutions and the output layer.
        modulation_norm: of each shift, scale and gate.
        initializer: of the weights.
        hidden_size: channels D at every resolution.
        levels: number of resolutions, each half of the one above.
        depth: blocks on the way down and on the way up, at each resolution.
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
        hidden_size: PositiveInt = 64,
        levels: PositiveInt = 2,
        depth: PositiveInt = 1,
        guidance_embedding: bool = True,
    ) -> None:
        super().__init__()
        _check_sizes(shape, levels)
        self.initializer = initializer

        def block() -> ConvBlock:
            modulation = Modulation(hidden_size, 3, modulation_norm)
            return ConvBlock(hidden_size, normalization(hidden_size), modulation)

        self.condition = Condition(
            hidden_size, num_classes, time_embedding, second_time, guidance_embedding
        )
        self.patch_embedding = nn.Conv2d(shape[0], hidden_size, 3, padding=1)
        levels_below: nn.Module | None = None
        for _ in range(levels):
            levels_below = Level(hidden_size, depth, block, levels_below)
        self.levels = module("level", levels_below)
        self.output = Output(
            hidden_size,
            shape[0],
            Modulation(hidden_size, 2, modulation_norm),
            lambda: normalization(hidden_size),
        )

    def initialize(self, generators: Callable[[str], torch.Generator]) -> None:
        """Set every parameter, each from its own stream."""
        initialize(self, self.initializer, generators)

    def forward(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return F (B, C, H, W)."""
        condition = self.condition(t, s, c, w)
        features = self.levels(self.patch_embedding(x), condition)
        tokens = self.output(features.flatten(2).transpose(1, 2), condition)
        F: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return F


def _check_sizes(shape: tuple[int, ...], levels: int) -> None:
    require(
        len(shape) == 3,
        f"models.unet takes images (C, H, W), and the examples have shape {tuple(shape)}",
    )
    side = 2 ** (levels - 1)
    require(
        shape[1] % side == 0 and shape[2] % side == 0,
        f"models.unet.levels is {levels}: the images' {shape[1]}x{shape[2]} has to be divisible "
        f"by {side}",
    )
