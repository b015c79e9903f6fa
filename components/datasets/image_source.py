"""Reading images and their labels from a folder or a ZIP file, in the layout of the released code.

Files are sorted by name. Labels come from `dataset.json`,
{"labels": [["00000/img00000000.png", 6], ...]}.
"""

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

from components.checks import require
from framework import UserError

LABELS = "dataset.json"
SUFFIXES = (".png", ".jpg", ".jpeg", ".npy")
Reader = Callable[[str], bytes]


def pictures_among(source: Path, names: list[str]) -> list[str]:
    """Return the names of images, sorted.

    Raises:
        UserError: there are none.
    """
    found = sorted(name for name in names if _suffix(name) in SUFFIXES)
    require(bool(found), f"{source} holds no PNG, JPEG or NPY file")
    return found


@contextmanager
def opened(source: Path) -> Iterator[tuple[list[str], Reader]]:
    """Give the names of all files below the source and a function that reads one."""
    if source.is_dir():
        files = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
        yield files, lambda name: _bytes_of(source / name)
        return
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive.namelist(), archive.read
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{source} is not a folder or ZIP file that can be read: {error}"
        ) from error


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def labels_of(source: Path, pictures: list[str], names: list[str], read: Reader) -> Tensor:
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


def decoded(name: str, data: bytes) -> Tensor:
    """Return one image (C, H, W) uint8.

    C is 1 for a gray picture, else 3: palettes, CMYK and the like become RGB. An alpha channel that
    is opaque everywhere is left out.

    Raises:
        UserError: the image cannot be read, has samples of other than 8 bits, which would be cut
            off at 255, or transparent pixels: whatever colour is below them, nobody has chosen it.
    """
    try:
        if _suffix(name) == ".npy":
            array = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            array = _pixels(name, Image.open(io.BytesIO(data)))
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise UserError(f"{name} is not an image that can be read: {error}") from error
    require(
        array.dtype == np.uint8 and array.ndim == 3,
        f"{name} is {array.dtype} {array.shape}: (channels, height, width) in unsigned bytes "
        "are needed",
    )
    return torch.from_numpy(array.copy())


def _pixels(name: str, picture: Image.Image) -> np.ndarray:
    """Return a picture as (C, H, W) uint8."""
    require(
        not picture.mode.startswith(("I", "F")),
        f"{name} has samples of 16 or more bits (mode {picture.mode}): scale it to 8 bits, as "
        "`magick IN -depth 8 OUT` does",
    )
    require(
        not picture.has_transparency_data or _is_opaque(picture),
        f"{name} has transparent pixels: lay it on a background, "
        "as `magick IN -background white -alpha remove OUT` does",
    )
    array = np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _is_opaque(picture: Image.Image) -> bool:
    return bool(np.asarray(picture.convert("RGBA"))[..., 3].min() == 255)


def cropped(image: Tensor, size: int) -> Tensor:
    """Return the middle square of (3, H, W) uint8 as (3, size, size).

    As Dhariwal and Nichol (2021) cut ImageNet: halved by boxes while that leaves enough, then
    scaled with bicubic interpolation, which enlarges what is smaller.
    """
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    while min(picture.size) >= 2 * size:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = size / min(picture.size)
    wide, high = round(picture.width * scale), round(picture.height * scale)
    picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - size) // 2, (high - size) // 2
    square = np.asarray(picture.crop((left, top, left + size, top + size)))
    return torch.from_numpy(square.transpose(2, 0, 1).copy())


def labels_by_folder(source: Path, pictures: list[str]) -> Tensor:
    """Return labels (M,) by the first folder of each name, folders being numbered in their order.

    Raises:
        UserError: an image lies in no folder.
    """
    folders = [PurePosixPath(name).parts[0] if "/" in name else "" for name in pictures]
    loose = next((name for name, folder in zip(pictures, folders) if not folder), None)
    require(
        loose is None,
        f"{source} has no labels: {loose} needs {LABELS}, or a folder for each class",
    )
    numbers = {folder: number for number, folder in enumerate(sorted(set(folders)))}
    return torch.tensor([numbers[folder] for folder in folders])


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
