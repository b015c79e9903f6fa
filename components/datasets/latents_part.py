"""A file of latents while it is filled, so that a kill at any moment loses seconds.

The HDF5 library writes an empty file once; numbers then go to their places in it without the
library, and a small file beside it says how many are there. A whole file gets its name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from torch import Tensor

from components.checks import require
from components.datasets.latents_file import (
    CHECKSUM,
    CHECKSUM_SIZE,
    FORMAT,
    LatentsFile,
    Table,
    digest,
    open_latents,
    table_of,
)
from framework import UserError
from framework.files import publish


@dataclass(frozen=True)
class Content:
    """What a file of latents is to hold.

    Args:
        names: arrays (N, C, R, R), such as "mean".
        shape: theirs.
        kind: float16 or float32.
        labels: (N,) int64.
        num_classes: how many classes there are.
        origin: what its numbers follow from, as JSON.
    """

    names: Sequence[str]
    shape: tuple[int, int, int, int]
    kind: str
    labels: Tensor
    num_classes: int
    origin: str


class LatentsPart:
    """The file beside `out` that becomes it."""

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f"{out.name}.part")
        self._out = out
        self._note = out.with_name(f"{out.name}.part.done")

    @property
    def done(self) -> int:
        """How many examples are in it, whatever happens."""
        return int(self._note.read_text()) if self._note.exists() else 0

    def create(self, content: Content) -> None:
        """Write it with labels and with room for the rest.

        Raises:
            UserError: it cannot be written.
        """
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            beside.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(beside, "w") as file:
                file.attrs["format"] = FORMAT
                file.attrs["num_classes"] = content.num_classes
                file.attrs["made_from"] = content.origin
                file["labels"] = content.labels.numpy()
                for name in content.names:
                    _make_room(file, name, content.shape, content.kind)
                _make_room(file, CHECKSUM, (CHECKSUM_SIZE,), "uint8")
            self._note.unlink(missing_ok=True)  # of another file, which someone has removed
            beside.rename(self.path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error}") from error

    @contextmanager
    def filling(self, names: Sequence[str]) -> Iterator[Filling]:
        """Open it for numbers.

        Raises:
            UserError: it cannot be written.
        """
        with h5py.File(self.path, "r", locking=False) as file:
            tables = {name: table_of(self.path, file, name) for name in names}
        with _goes_on(self.path):
            raw = self.path.open("r+b")
        with raw:
            yield Filling(self.path, self._note, raw.fileno(), tables)

    def finish(self) -> LatentsFile:
        """Write the checksum, check the file and give it its name.

        Raises:
            UserError: it cannot be written.
        """
        with h5py.File(self.path, "r", locking=False) as file:
            checksum, offset = digest(file), file[CHECKSUM].id.get_offset()
        with _goes_on(self.path), self.path.open("r+b") as raw:
            os.pwrite(raw.fileno(), checksum.encode(), offset)
            os.fsync(raw.fileno())
        open_latents(self.path)
        self.path.rename(self._out)
        self._note.unlink(missing_ok=True)
        return open_latents(self._out)


@dataclass(frozen=True)
class Filling:
    """A file open for numbers: its arrays and where they lie."""

    _path: Path
    _note: Path
    _descriptor: int
    _tables: Mapping[str, Table]

    @property
    def resolution(self) -> int:
        """R of the arrays (N, C, R, R)."""
        return next(iter(self._tables.values())).shape[-1]

    def write(self, name: str, start: int, values: Tensor) -> None:
        """Write examples (B, C, R, R) to an array, from number `start` on.

        Raises:
            UserError: the array's type does not hold them, or they cannot be written.
        """
        table = self._tables[name]
        array = np.ascontiguousarray(values.numpy().astype(table.dtype))
        require(bool(np.isfinite(array).all()), f"the latents do not fit into {array.dtype}")
        data = memoryview(array.tobytes())
        offset = table.offset + start * array[0].nbytes
        with _goes_on(self._path):
            while data:
                count = os.pwrite(self._descriptor, data, offset)
                data, offset = data[count:], offset + count

    def note(self, done: int) -> None:
        """Note that so many examples are in the file, which then outlive a crash.

        Raises:
            UserError: they cannot be written.
        """
        with _goes_on(self._path):
            os.fsync(self._descriptor)
            publish(self._note, str(done))


def check_origin(path: Path, origin: str) -> None:
    """Refuse to take what is there for the file to be made, unless it was made from the same.

    Raises:
        UserError: it is another file, or damaged, or was made from something else.
    """
    require(not path.is_dir(), f"{path} is a folder: name a file as --out")
    not_ours = f"{path} is no file of latents: name another --out"
    require(h5py.is_hdf5(path), not_ours)
    try:
        with h5py.File(path, "r", locking=False) as file:
            require(file.attrs.get("format") == FORMAT, not_ours)
            there = str(file.attrs.get("made_from", ""))
    except OSError as error:
        raise UserError(
            f"{path} is damaged: if it held latents remove it and encode again, else name another "
            "--out"
        ) from error
    if there != origin:
        known = json.loads(there) if there else {}
        differing = [k for k, v in json.loads(origin).items() if known.get(k) != v]
        raise UserError(
            f"{path} was made from something else ({', '.join(differing)} differs): name another "
            "--out, or remove it"
        )


@contextmanager
def _goes_on(path: Path) -> Iterator[None]:
    """Say of a failed write that what was written before stays."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}): the same command goes on"
        ) from error


def _make_room(file: h5py.File, name: str, shape: tuple[int, ...], kind: str) -> None:
    """Make an array in one piece that takes its place in the file now, and zeros there."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), space, layout)
