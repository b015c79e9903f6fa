"""Encoding images into a file of latents, so that a kill at any moment loses seconds.

The HDF5 library writes an empty file once; numbers then go to their places in it without the
library, and a small file beside it says how many are there. A whole file gets its name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import h5py
import numpy as np
import torch
from torch import Tensor

from components.checks import require
from components.datasets.autoencoder import Autoencoder
from components.datasets.image_source import (
    LABELS,
    Reader,
    cropped,
    decoded,
    labels_by_folder,
    labels_of,
    opened,
    pictures_among,
)
from components.datasets.latents_file import (
    CHECKSUM,
    CHECKSUM_SIZE,
    FLIPPED,
    FORMAT,
    POSTERIOR,
    LatentsFile,
    Table,
    digest,
    open_latents,
    table_of,
)
from framework import UserError

_NOTED_EVERY = 0.5  # seconds between two notes of how far it is
_READERS = 4
_log = logging.getLogger(__name__)
Report = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Encoding:
    """What is encoded and how.

    Args:
        images: folder or ZIP file of images, with dataset.json or a folder for each class.
        out: the file of latents.
        flip: whether the mirrored images are encoded too.
        crop: scale each image to this size and cut a square from its middle; without it all have to
            be squares of one size.
        kind: float16 or float32.
        classes: how many there are; as many as the labels need if None.
    """

    images: Path
    out: Path
    flip: bool = False
    crop: int | None = None
    kind: str = "float16"
    classes: int | None = None
    _unsaid: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def run(self, autoencoder: Autoencoder, batch_size: int, report: Report) -> LatentsFile:
        """Encode what is not encoded yet; `report(done, all, rate)` hears of it.

        Raises:
            UserError: the images cannot be used, the file belongs to others, or the disk is full.
        """
        with opened(self.images) as (names, read):
            pictures = pictures_among(self.images, names)
            labels = self._labels(pictures, names, read)
            origin = self._origin(autoencoder, pictures, labels)
            if self.out.exists():
                _check_origin(self.out, origin)
                return open_latents(self.out)
            part = self.out.with_name(f"{self.out.name}.part")
            if not part.exists():
                size = self._image(pictures[0], read).shape[-1]
                self._create(part, autoencoder, size, labels, origin)
            _check_origin(part, origin)
            try:
                self._fill(part, pictures, read, autoencoder, batch_size, report)
            except OSError as error:
                raise UserError(
                    f"{part}: cannot be written ({error.strerror}): the same command goes on"
                ) from error
        return _finish(part, self.out)

    def _labels(self, pictures: list[str], names: list[str], read: Reader) -> Tensor:
        if LABELS in names:
            labels = labels_of(self.images, pictures, names, read)
        else:
            labels = labels_by_folder(self.images, pictures)
        needed = int(labels.max()) + 1
        require(
            self.classes is None or self.classes >= needed,
            f"{self.images} has {needed} classes, and --classes is {self.classes}",
        )
        return labels

    def _origin(self, autoencoder: Autoencoder, pictures: list[str], labels: Tensor) -> str:
        """Return what the file's numbers follow from, as JSON."""
        listed = hashlib.sha256("\n".join(pictures).encode() + labels.numpy().tobytes())
        facts = {
            "autoencoder": autoencoder.source,
            "pictures": listed.hexdigest(),
            "flip": self.flip,
            "crop": self.crop,
            "kind": self.kind,
            "classes": self.classes,
        }
        return json.dumps(facts, sort_keys=True)

    def _image(self, name: str, read: Reader) -> Tensor:
        """Return one image (3, R, R) uint8."""
        image = decoded(f"{self.images}/{name}", read(name))
        channels, height, width = image.shape
        require(
            channels in (1, 3) and (self.crop is not None or height == width),
            f"{self.images}/{name} has shape {tuple(image.shape)}: squares of 1 or 3 channels are "
            "encoded; --crop SIZE cuts them",
        )
        image = image.expand(3, -1, -1)
        if self.crop is None:
            return image
        if min(height, width) < self.crop:
            self._say_enlarged(f"{self.images}/{name} is {width}x{height}")
        return cropped(image, self.crop)

    def _say_enlarged(self, found: str) -> None:
        """Say once that images are enlarged; several threads read them."""
        if self._unsaid.acquire(blocking=False):
            _log.warning("%s: what is smaller than --crop %d is enlarged to it", found, self.crop)

    def _create(
        self, part: Path, autoencoder: Autoencoder, size: int, labels: Tensor, origin: str
    ) -> None:
        """Write a file with labels and with room for the rest."""
        factor = autoencoder.factor
        require(
            size % factor == 0,
            f"images of {size}x{size}: each latent is made from {factor}x{factor} pixels",
        )
        shape = (len(labels), autoencoder.channels, size // factor, size // factor)
        beside = part.with_name(f"{part.name}.new")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(beside, "w") as file:
                file.attrs["format"] = FORMAT
                file.attrs["num_classes"] = self.classes or int(labels.max()) + 1
                file.attrs["made_from"] = origin
                file["labels"] = labels.numpy()
                for name in self._names():
                    _room(file, name, shape, self.kind)
                _room(file, CHECKSUM, (CHECKSUM_SIZE,), "uint8")
            beside.rename(part)
        except OSError as error:
            raise UserError(f"{part}: cannot be written: {error}") from error

    def _names(self) -> list[str]:
        return [*POSTERIOR, *(FLIPPED if self.flip else ())]

    def _fill(
        self,
        part: Path,
        pictures: list[str],
        read: Reader,
        autoencoder: Autoencoder,
        batch_size: int,
        report: Report,
    ) -> None:
        with h5py.File(part, "r", locking=False) as file:
            tables = {name: table_of(part, file, name) for name in self._names()}
        factor, size = autoencoder.factor, tables["mean"].shape[-1]
        done = first = _noted(part)
        started = noted = time.monotonic()
        with part.open("r+b") as file:
            for images in self._batches(pictures[first:], read, batch_size):
                _check_size(images, size * factor, self.images)
                for name, values in self._encoded(autoencoder, torch.stack(images)):
                    _write(file.fileno(), tables[name], done, values)
                done += len(images)
                now = time.monotonic()
                if now - noted > _NOTED_EVERY or done == len(pictures):
                    os.fsync(file.fileno())
                    _note(part, done)
                    noted = now
                report(done, len(pictures), (done - first) / max(now - started, 1e-9))

    def _batches(
        self, pictures: list[str], read: Reader, batch_size: int
    ) -> Iterator[list[Tensor]]:
        """Yield images in batches, the next one being read meanwhile."""
        with ThreadPoolExecutor(_READERS) as readers:
            starts = range(0, len(pictures), batch_size)
            ahead: list[Iterator[Tensor]] = []
            for start in starts:
                some = pictures[start : start + batch_size]
                ahead.append(readers.map(lambda name: self._image(name, read), some))
                if len(ahead) > 1:
                    yield list(ahead.pop(0))
            yield from (list(rest) for rest in ahead)

    def _encoded(self, autoencoder: Autoencoder, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield from zip(POSTERIOR, autoencoder.encode(images))
        if self.flip:
            yield from zip(FLIPPED, autoencoder.encode(images.flip(-1)))


def _room(file: h5py.File, name: str, shape: tuple[int, ...], kind: str) -> None:
    """Make an array in one piece that takes its place in the file now, and zeros there."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), space, layout)


def _write(descriptor: int, table: Table, start: int, values: Tensor) -> None:
    array = np.ascontiguousarray(values.numpy().astype(table.dtype))
    require(bool(np.isfinite(array).all()), f"the latents do not fit into {array.dtype}")
    data = memoryview(array.tobytes())
    offset = table.offset + start * array[0].nbytes
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def _check_size(images: list[Tensor], size: int, source: Path) -> None:
    found = {image.shape[-1] for image in images} - {size}
    require(
        not found,
        f"{source} has images of {size}x{size} and of {found}: one size is needed; --crop {size} "
        "cuts them",
    )


def _check_origin(path: Path, origin: str) -> None:
    """Refuse to take what is there for the file to be made, unless it was made from the same."""
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


def _noted(part: Path) -> int:
    """Return how many images are in the file."""
    note = _note_path(part)
    return int(note.read_text()) if note.exists() else 0


def _note(part: Path, done: int) -> None:
    note = _note_path(part)
    beside = note.with_name(f"{note.name}.new")
    beside.write_text(str(done))
    beside.rename(note)


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.done")


def _finish(part: Path, out: Path) -> LatentsFile:
    """Write the checksum, check the file and give it its name."""
    with h5py.File(part, "r", locking=False) as file:
        checksum, offset = digest(file), file[CHECKSUM].id.get_offset()
    with part.open("r+b") as raw:
        os.pwrite(raw.fileno(), checksum.encode(), offset)
        os.fsync(raw.fileno())
    open_latents(part)
    part.rename(out)
    _note_path(part).unlink(missing_ok=True)
    return open_latents(out)
