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
        yield files, lambda name: (source / name).read_bytes()
        return
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive.namelist(), archive.read
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{source} is not a folder or ZIP file that can be read: {error}"
        ) from error


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
