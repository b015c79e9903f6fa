"""What torch.save writes: a ZIP file with one pickle and the numbers of its tensors beside it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch

from framework.importing import machine
from framework.importing.names import vocabulary
from framework.importing.storages import Storage, described
from framework.importing.vocabulary import RefusedError

_PICKLE = "data.pkl"


def is_torch_save(path: Path) -> bool:
    """Return whether a file is a ZIP file, as torch.save writes them."""
    return path.is_file() and zipfile.is_zipfile(path)


def read_torch_save(path: Path) -> object:
    """Return what a file of torch.save describes, as plain data.

    Raises:
        RefusedError: the file is damaged, compressed, or asks for what is not read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path.stat().st_size)
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise RefusedError(f"{path}: it is damaged or no file of torch.save: {error}") from error
    except RefusedError as error:
        raise RefusedError(f"{path}: {error}") from error


def _read(archive: zipfile.ZipFile, size: int) -> object:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if sum(entry.file_size for entry in entries.values()) > size:
        raise RefusedError("its parts are larger than the whole")
    if any(entry.flag_bits & 1 for entry in entries.values()):
        raise RefusedError("it is encrypted")
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries.values()):
        raise RefusedError("it is compressed, which torch.save never does")
    pickles = [name for name in entries if name.split("/")[1:] == [_PICKLE]]
    if len(pickles) != 1:
        raise RefusedError(f"it has {len(pickles)} files called {_PICKLE} instead of one")
    folder = pickles[0].removesuffix(_PICKLE)
    order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in entries else b"little"
    if order != b"little":
        raise RefusedError(f"its numbers are {order!r:.20}-endian, which is not read")
    loaded: dict[str, Storage] = {}

    def storage(identifier: object) -> Storage:
        dtype, key, length = described(identifier)
        if key not in loaded:
            loaded[key] = _storage(archive, f"{folder}data/{key}", dtype, length)
        return loaded[key]

    entry = entries[pickles[0]]
    with archive.open(entry) as file:
        return machine.run(file, entry.file_size, vocabulary(storage))


def _storage(archive: zipfile.ZipFile, name: str, dtype: torch.dtype, length: int) -> Storage:
    try:
        size = archive.getinfo(name).file_size
    except KeyError as error:
        raise RefusedError(f"it is damaged: {name} is missing") from error
    if size != length * dtype.itemsize:
        raise RefusedError(f"it announces {length} numbers in {name}, which has {size} bytes")
    if not length:
        return Storage(torch.empty(0, dtype=dtype))
    return Storage(torch.frombuffer(bytearray(archive.read(name)), dtype=dtype))
