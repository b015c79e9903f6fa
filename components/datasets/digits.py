"""The handwritten digits that scikit-learn ships."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from framework import register
from framework.protocols import Examples

HELD_OUT = 300


@register.dataset("digits")
class Digits:
    """1,797 handwritten digits of 8x8 pixels, 1,497 for training and 300 held out, by class.

    Pixels 0 to 16 become -1 to 1, then are standardised with the mean and standard deviation of all
    training pixels.
    """

    def __init__(self) -> None:
        from sklearn.datasets import load_digits  # half as slow to import as torch
        from sklearn.model_selection import train_test_split

        self.name = "digits"
        self.shape: tuple[int, ...] = (1, 8, 8)
        self.num_classes = 10
        pixels, labels = load_digits(return_X_y=True)
        split = train_test_split(
            pixels, labels, test_size=HELD_OUT, stratify=labels, random_state=0
        )
        train, held_out = (_scaled(part) for part in split[:2])
        self.mean, self.std = float(train.mean()), float(train.std())
        train_labels, held_out_labels = (torch.as_tensor(part).long() for part in split[2:])
        self._train = Examples(self._standardised(train), train_labels)
        self._held_out = Examples(self._standardised(held_out), held_out_labels)

    def __len__(self) -> int:
        """Return the number of training images."""
        return len(self._train.labels)

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return the training images of indices (B,)."""
        return Examples(self._train.x[indices], self._train.labels[indices])

    def labels(self) -> Tensor:
        """Return all training labels (1497,)."""
        return self._train.labels

    def held_out(self) -> Examples:
        """Return the 300 held-out images."""
        return self._held_out

    def images(self, x: Tensor) -> Tensor:
        """Return pictures of x (B, 1, 8, 8) as uint8 (B, 8, 8, 1)."""
        bright = (x.detach().cpu().double() * self.std + self.mean + 1) / 2  # 0 to 1
        return (bright * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)

    def _standardised(self, pixels: Tensor) -> Tensor:
        return ((pixels - self.mean) / self.std).float()


def _scaled(pixels: np.ndarray) -> Tensor:
    """Return pixels (B, 64) from 0 to 16 as images (B, 1, 8, 8) from -1 to 1, float64."""
    return torch.from_numpy(pixels / 8 - 1).reshape(-1, 1, 8, 8)
