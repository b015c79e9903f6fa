"""Fashion-MNIST from IDX files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from components.checks import require
from components.datasets.idx import read_idx
from components.datasets.memory import ImagesInMemory
from framework import UserError, register
from framework.settings import LocalPath, NonNegativeInt


@register.dataset("fashion_mnist")
class FashionMNIST(ImagesInMemory):
    """70,000 pictures of clothes in 10 classes, 28x28 pixels, 10,000 of them held out.

    Xiao et al., 2017. Nothing is downloaded.

    Args:
        path: folder with the four IDX files, compressed or not, under their original names.
        padding: pixels of the background on each side; 2 makes 32x32.
    """

    def __init__(self, path: LocalPath, padding: NonNegativeInt = 0) -> None:
        require(padding >= 0, f"padding is {padding}: it has to be at least 0")
        folder = Path(path).expanduser()
        train, held_out = (_read(folder, part, padding) for part in ("train", "t10k"))
        super().__init__("fashion_mnist", train, held_out)


def _read(folder: Path, part: str, padding: int) -> tuple[Tensor, Tensor]:
    """Return the images (M, 1, H, W) uint8 and labels (M,) int64 of `train` or `t10k`."""
    images = read_idx(_find(folder, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{part}-labels-idx1-ubyte")).long()
    require(
        images.ndim == 3 and len(images) == len(labels),
        f"{folder}: the {part} images have shape {tuple(images.shape)} for {len(labels)} labels",
    )
    return torch.nn.functional.pad(images, (padding,) * 4)[:, None], labels


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(
        f"no Fashion-MNIST file {folder / name}[.gz]: set datasets.fashion_mnist.path to the "
        "folder of the four files. Debian's package dataset-fashion-mnist puts them into "
        "/usr/share/datasets/fashion-mnist; github.com/zalandoresearch/fashion-mnist has them too"
    )
