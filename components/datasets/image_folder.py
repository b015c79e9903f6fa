"""Images in a folder or a ZIP file, in the layout of the released code."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from components.checks import at_least, require
from components.datasets.memory import ImagesInMemory
from framework import UserError, register
from framework.settings import NonNegativeInt

LABELS = "dataset.json"
Reader = Callable[[str], bytes]


@register.dataset("image_folder")
class ImageFolder(ImagesInMemory):
    """PNG, JPEG or NPY images of one size under a folder or in a ZIP file, held in memory.

    Files are sorted by name. Labels come from `dataset.json`,
    {"labels": [["00000/img00000000.png", 6], ...]}; without it, or with null, all have class 0.
    NPY files are (channels, height, width) in unsigned bytes.

    Args:
        path: the folder or the ZIP file.
        held_out: how many images, evenly spaced in the order of names, are kept from training.
    """

    def __init__(self, path: str, held_out: NonNegativeInt = 0) -> None:
        source = Path(path).expanduser()
        with _opened(source) as (names, read):
            pictures = sorted(n for n in names if _suffix(n) in (".png", ".jpg", ".jpeg", ".npy"))
            require(bool(pictures), f"{source} holds no PNG, JPEG or NPY file")
            labels = _labels(source, pictures, names, read)
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


@contextmanager
def _opened(source: Path) -> Iterator[tuple[list[str], Reader]]:
    """Give the names of all files below the source and a function that reads one."""
    if source.is_dir():
        files = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
        yield files, lambda name: (source / name).read_bytes()
        return
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive.namelist(), archive.read
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{source} is not a folder or ZIP file that can be read: {error}"
        ) from error


def _labels(source: Path, pictures: list[str], names: list[str], read: Reader) -> Tensor:
    """Return the pictures' labels (M,) int64."""
    if LABELS not in names:
        return torch.zeros(len(pictures), dtype=torch.int64)
    try:
        pairs = json.loads(read(LABELS))["labels"]
        found = {str(name): int(label) for name, label in pairs} if pairs else None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{source}/{LABELS} is not {{"labels": [[name, class], ...]}}') from error
    if found is None:
        return torch.zeros(len(pictures), dtype=torch.int64)
    missing = next((name for name in pictures if name not in found), None)
    require(missing is None, f"{source}/{LABELS} has no label for {missing}")
    labels = torch.tensor([found[name] for name in pictures])
    require(bool((labels >= 0).all()), f"{source}/{LABELS} has a negative class")
    return labels


def _stacked(source: Path, pictures: list[str], read: Reader) -> Tensor:
    """Return the pictures (M, C, H, W) uint8."""
    images: list[Tensor] = []
    for name in pictures:
        image = _decoded(f"{source}/{name}", read(name))
        require(
            not images or image.shape == images[0].shape,
            f"{source}/{name} has shape {tuple(image.shape)}, and {pictures[0]} has "
            f"{tuple(images[0].shape) if images else ()}: images have to be of one size",
        )
        images.append(image)
    return torch.stack(images)


def _decoded(name: str, data: bytes) -> Tensor:
    """Return one image (C, H, W) uint8."""
    try:
        if _suffix(name) == ".npy":
            array = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            picture = Image.open(io.BytesIO(data))
            array = np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
            array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise UserError(f"{name} is not an image that can be read: {error}") from error
    require(
        array.dtype == np.uint8 and array.ndim == 3,
        f"{name} is {array.dtype} {array.shape}: (channels, height, width) in unsigned bytes "
        "are needed",
    )
    return torch.from_numpy(array.copy())


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
