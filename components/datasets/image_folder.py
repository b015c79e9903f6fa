"""Images in a folder or a ZIP file, in the layout of the released code."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from components.checks import at_least, require
from components.datasets.image_source import Reader, decoded, labels_of, opened, pictures_among
from components.datasets.memory import ImagesInMemory
from framework import register
from framework.settings import NonNegativeInt


@register.dataset("image_folder")
class ImageFolder(ImagesInMemory):
    """PNG, JPEG or NPY images of one size under a folder or in a ZIP file, held in memory.

    Files are sorted by name. Labels come from `dataset.json`,
    {"labels": [["00000/img00000000.png", 6], ...]}; without it, or with null, all have class 0.
    NPY files are (channels, height, width) in unsigned bytes. Pictures of 16 bits, or with
    transparent pixels, are refused; opaque alpha is left out.

    Args:
        path: the folder or the ZIP file.
        held_out: how many images, evenly spaced in the order of names, are kept from training.
    """

    def __init__(self, path: str, held_out: NonNegativeInt = 0) -> None:
        source = Path(path).expanduser()
        with opened(source) as (names, read):
            pictures = pictures_among(source, names)
            labels = labels_of(source, pictures, names, read)
            images = _stacked(source, pictures, read)
        at_least("held_out", held_out, 0)
        require(
            held_out < len(images), f"held_out is {held_out}: {source} has {len(images)} images"
        )
        apart = torch.zeros(len(images), dtype=torch.bool)
        apart[torch.arange(held_out) * len(images) // max(held_out, 1)] = True
        super().__init__(
            source.stem, (images[~apart], labels[~apart]), (images[apart], labels[apart])
        )
        self.num_classes = int(labels.max()) + 1


def _stacked(source: Path, pictures: list[str], read: Reader) -> Tensor:
    """Return the pictures (M, C, H, W) uint8."""
    images: list[Tensor] = []
    for name in pictures:
        image = decoded(f"{source}/{name}", read(name))
        require(
            not images or image.shape == images[0].shape,
            f"{source}/{name} has shape {tuple(image.shape)}, and {pictures[0]} has "
            f"{tuple(images[0].shape) if images else ()}: images have to be of one size",
        )
        images.append(image)
    return torch.stack(images)
