"""Labelled images held in memory: what datasets of small images have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from components.checks import require
from framework.protocols import Examples


class ImagesInMemory:
    """Images as bytes, standardised when asked for.

    Bytes 0 to 255 become -1 to 1, then are standardised with the mean and standard deviation of all
    training bytes.
    """

    def __init__(
        self, name: str, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]
    ) -> None:
        images, labels = train
        require(len(images) > 0, f"dataset {name} has no training images")
        self.name = name
        self.shape: tuple[int, ...] = tuple(images.shape[1:])
        self.num_classes = int(labels.max()) + 1
        self._train, self._held_out = train, held_out
        self._table = torch.arange(256, dtype=torch.float64) / 127.5 - 1
        counts = torch.bincount(images.flatten(), minlength=256).double()
        share = counts / counts.sum()
        self.mean = float(share @ self._table)
        self.std = float((share @ (self._table - self.mean).square()).sqrt())
        require(self.std > 0, f"dataset {name} has the same value in every pixel")

    def __len__(self) -> int:
        """Return the number of training images."""
        return len(self._train[1])

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return the training images of indices (B,)."""
        images, labels = self._train
        return Examples(self._standardised(images[indices]), labels[indices])

    def labels(self) -> Tensor:
        """Return all training labels."""
        return self._train[1]

    def held_out(self) -> Examples:
        """Return the held-out images."""
        images, labels = self._held_out
        return Examples(self._standardised(images), labels)

    def images(self, x: Tensor) -> Tensor:
        """Return pictures of x (B, C, H, W) as uint8 (B, H, W, C)."""
        value = x.detach().cpu().double() * self.std + self.mean
        bright = ((value + 1) * 127.5).round().clamp(0, 255)
        return bright.to(torch.uint8).permute(0, 2, 3, 1)

    def _standardised(self, images: Tensor) -> Tensor:
        table = ((self._table - self.mean) / self.std).float()
        return table[images.long()]
