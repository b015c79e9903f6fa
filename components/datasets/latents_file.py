"""The HDF5 file of encoded images that launch/encode_latents.py writes.

`mean` and `std` (N, C, R, R) are the autoencoder's posterior, float16 or float32, in one piece each
and not compressed, so that any example lies at a known place; `mean_flipped` and `std_flipped` are
those of the mirrored images, where there are any. `labels` (N,) is int64. `sha256` (64,) are the
hexadecimal digits of the checksum, zero in a file that is not finished. Attributes: `format`,
`num_classes` and `made_from`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from components.checks import require
from framework import UserError

FORMAT = "tvmlab latents 1"
POSTERIOR = ("mean", "std")
FLIPPED = ("mean_flipped", "std_flipped")
LABELS = "labels"
CHECKSUM = "sha256"
CHECKSUM_SIZE = 64
_BLOCK = 1024


@dataclass(frozen=True)
class Table:
    """One array in a file: its place, shape and type. Reading it needs no HDF5 library."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: str

    def map(self) -> np.ndarray:
        """Return the array, read from the disk where it is touched; any process may."""
        return np.memmap(self.path, self.dtype, mode="r", offset=self.offset, shape=self.shape)


@dataclass(frozen=True)
class LatentsFile:
    """What a file of latents holds."""

    path: Path
    tables: dict[str, Table]
    labels: np.ndarray
    num_classes: int
    sha256: str

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, R, R) of one example."""
        return self.tables["mean"].shape[1:]

    @property
    def flipped(self) -> bool:
        """Whether the mirrored images were encoded too."""
        return FLIPPED[0] in self.tables


def open_latents(path: Path) -> LatentsFile:
    """Return what a file holds, after checking that it is whole; nothing large is read.

    Raises:
        UserError: the file is missing, damaged, unfinished or of another form.
    """
    require(
        path.is_file(),
        f"no file of latents at {path}: make it with `python launch/encode_latents.py --images DIR "
        f"--out {path}`, or set datasets.latents.path",
    )
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _read(path, file)
    except (OSError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(
            f"{path} is damaged or no HDF5 file ({reason}): encode it again or copy it again"
        ) from error


def _read(path: Path, file: h5py.File) -> LatentsFile:
    require(
        file.attrs.get("format") == FORMAT,
        f"{path} is not a file of latents: make one with launch/encode_latents.py",
    )
    checksum = np.asarray(file[CHECKSUM], dtype=np.uint8).tobytes()
    require(
        any(checksum),
        f"{path} is not finished: go on with launch/encode_latents.py and the same options",
    )
    require(LABELS in file, f"{path} has no labels: encode it again with dataset.json or folders")
    labels = np.asarray(file[LABELS], dtype=np.int64)
    classes = int(file.attrs["num_classes"])
    require(
        len(labels) > 0 and labels.min() >= 0 and labels.max() < classes,
        f"{path} has labels outside of its {classes} classes, or none at all",
    )
    names = [*POSTERIOR, *(FLIPPED if FLIPPED[0] in file else ())]
    tables = {name: table_of(path, file, name) for name in names}
    shapes = {table.shape for table in tables.values()}
    require(
        len(shapes) == 1 and len(next(iter(shapes))) == 4 and len(tables["mean"].map()) > 0,
        f"{path}: mean and std have to be of one shape (N, C, R, R), and are {sorted(shapes)}",
    )
    require(
        len(labels) == tables["mean"].shape[0],
        f"{path} has {len(labels)} labels for {tables['mean'].shape[0]} examples",
    )
    return LatentsFile(path, tables, labels, classes, checksum.decode("ascii", "replace"))


def table_of(path: Path, file: h5py.File, name: str) -> Table:
    """Return where an array of a file lies.

    Raises:
        UserError: it is missing, cut short, or not in one piece.
    """
    require(name in file, f"{path} has no '{name}': encode it again")
    array = file[name]
    offset = array.id.get_offset()
    require(
        offset is not None and array.dtype in (np.float16, np.float32),
        f"{path}: '{name}' has to be float16 or float32 in one piece (no chunks, no compression)",
    )
    end = offset + array.size * array.dtype.itemsize
    size = path.stat().st_size
    require(end <= size, f"{path} is cut short: '{name}' ends at byte {end} of {size}")
    return Table(path, offset, array.shape, array.dtype.str)


def digest(file: h5py.File) -> str:
    """Return the SHA-256 of everything in an open file of latents, in 64 hexadecimal digits."""
    total = hashlib.sha256()
    for name in sorted({*POSTERIOR, *FLIPPED, LABELS} & set(file)):
        array = file[name]
        total.update(f"{name} {array.shape} {array.dtype}".encode())
        for start in range(0, len(array), _BLOCK):
            total.update(np.ascontiguousarray(array[start : start + _BLOCK]).tobytes())
    return total.hexdigest()


def verify(path: Path) -> LatentsFile:
    """Read a whole file and compare it with its checksum.

    Raises:
        UserError: they differ, or the file cannot be used at all.
    """
    found = open_latents(path)
    with h5py.File(path, "r", locking=False) as file:
        require(
            digest(file) == found.sha256,
            f"{path} is damaged: its numbers do not fit its checksum: encode it or copy it again",
        )
    return found
