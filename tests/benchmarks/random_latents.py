"""A dataset of random latents, for measuring steps: `datasets.random_latents`."""

from __future__ import annotations

import torch
from torch import Tensor

from framework import register
from framework.protocols import Examples
from framework.settings import PositiveInt

EXAMPLES = 2048


@register.dataset("random_latents")
class RandomLatents:
    """Standard normal latents with labels in turn.

    Args:
        channels: channels of a latent.
        size: its height and width.
        num_classes: classes without the empty one.
    """

    def __init__(
        self, channels: PositiveInt = 4, size: PositiveInt = 32, num_classes: PositiveInt = 1000
    ) -> None:
        self.name = f"random_latents_{size}"
        self.shape: tuple[int, ...] = (channels, size, size)
        self.num_classes = num_classes
        self._x = torch.randn(EXAMPLES, *self.shape, generator=torch.Generator().manual_seed(0))
        self._labels = torch.arange(EXAMPLES) % num_classes

    def __len__(self) -> int:
        return EXAMPLES

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return the latents of indices (B,)."""
        return Examples(self._x[indices], self._labels[indices])

    def labels(self) -> Tensor:
        """Return all labels."""
        return self._labels

    def held_out(self) -> Examples:
        """Return nothing."""
        return Examples(self._x[:0], self._labels[:0])

    def images(self, x: Tensor) -> Tensor:
        """Return the first channel as grey pictures (B, H, W, 1)."""
        return (x[:, :1] * 64 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
