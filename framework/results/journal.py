"""The append-only, checksummed journal: what a run recorded since its HDF5 file was published.

A file is a header and records, little-endian:

    header   16 bytes magic, 16 bytes random id, 4 bytes CRC-32 of both
    record   u32 bytes of head, u32 bytes of body, u32 CRC-32 of (both lengths, head, body),
             head (JSON, UTF-8), body (whatever the head says; may be empty)

A record counts when all its bytes are there and its checksum agrees. A kill in mid-write leaves a
torn tail; readers stop before it and the next writer cuts it. NaN and infinities are written as
Python's json does (NaN, Infinity).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import struct
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.results.storage import (
    explained,
    replace_file,
    suppress_unsupported,
    write_all,
)

_MAGIC = b"tvmlab journal 1"
_HEADER = struct.Struct("<16s16sI")
_FRAME = struct.Struct("<III")
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True)
class Record:
    """One journal record: a JSON-able head, of which `kind` says what it is, and raw bytes."""

    head: Mapping[str, Any]
    body: bytes = b""

    @property
    def kind(self) -> str:
        """What the record holds."""
        return str(self.head["kind"])


@dataclass(frozen=True)
class Scan:
    """What reading a journal gave.

    `identity` is the journal's id in hex (None: no journal, or its header is damaged), `records`
    the whole records, `end` the byte after the last of them, `size` the file's size.
    """

    identity: str | None
    records: list[Record]
    end: int
    size: int


def encode(record: Record) -> bytes:
    """The bytes of one framed record."""
    head = json.dumps(record.head, separators=(",", ":"), ensure_ascii=False).encode()
    checksum = _checksum(len(head), len(record.body), head, record.body)
    return _FRAME.pack(len(head), len(record.body), checksum) + head + record.body


def scan(path: Path, start: int = HEADER_BYTES) -> Scan:
    """The whole records of `path` from byte `start` on, up to the first that is torn or damaged.

    A missing file, or one whose header is damaged, gives no records and no identity. A `start`
    beyond the end gives no records and the `end` 0.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return Scan(None, [], 0, 0)
    identity = _identity(header)
    if identity is None or start > size:
        return Scan(identity, [], 0, size)
    records, used = decode(data)
    return Scan(identity, records, start + used, size)


def inspect(path: Path) -> tuple[str | None, int]:
    """The journal's id in hex (None: none, or its header is damaged) and its size in bytes."""
    try:
        with path.open("rb") as file:
            return _identity(file.read(HEADER_BYTES)), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None, 0


def decode(data: bytes) -> tuple[list[Record], int]:
    """The whole records that `data` begins with, and how many bytes they take."""
    records: list[Record] = []
    position = 0
    while len(data) - position >= _FRAME.size:
        head_bytes, body_bytes, checksum = _FRAME.unpack_from(data, position)
        begin = position + _FRAME.size
        middle, end = begin + head_bytes, begin + head_bytes + body_bytes
        if end > len(data):
            break
        head, body = data[begin:middle], data[middle:end]
        if _checksum(head_bytes, body_bytes, head, body) != checksum:
            break
        records.append(Record(json.loads(head), body))
        position = end
    return records, position


def create(path: Path, records: Iterable[Record] = ()) -> None:
    """Puts a new journal with `records` in place of `path`, at once and durably.

    Raises:
        StorageError: the disk is full or refuses; what was there before is untouched.
    """
    identity = secrets.token_bytes(16)
    header = _HEADER.pack(_MAGIC, identity, zlib.crc32(_MAGIC + identity))
    replace_file(path, header + b"".join(map(encode, records)))


class Journal:
    """An existing journal (see `create`) held for appending, by one process at a time.

    Call `resume` with what `scan` found before the first `append`.

    Raises:
        StorageError: it cannot be opened, or another process is writing to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity = ""
        self.end = 0
        with explained(path, "open"):
            self._descriptor = os.open(path, os.O_RDWR)
            try:
                self._lock()
            except OSError:
                self.close()
                raise

    def resume(self, found: Scan) -> None:
        """Goes on after the last whole record; the torn tail of a killed writer is cut."""
        with explained(self.path):
            os.ftruncate(self._descriptor, found.end)
            os.lseek(self._descriptor, found.end, os.SEEK_SET)
        self.identity, self.end = found.identity or "", found.end

    def append(self, records: Iterable[Record]) -> None:
        """Writes the records and waits until the disk has them: all of them, or none.

        Raises:
            StorageError: the disk is full or refuses; the journal is as before.
        """
        data = b"".join(map(encode, records))
        if not data:
            return
        with explained(self.path):
            self._lock()
            try:
                write_all(self._descriptor, data)
                os.fsync(self._descriptor)
            except OSError:
                # a torn record in the middle would hide every later one
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self.end)
                    os.lseek(self._descriptor, self.end, os.SEEK_SET)
                raise
        self.end += len(data)

    def hold(self) -> None:
        """Takes the lock again, which reading the journal in this process gives up.

        Raises:
            StorageError: another process has taken it.
        """
        with explained(self.path, "hold"):
            self._lock()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lock(self) -> None:
        # lockf, not flock: forked data-loading workers that outlive a kill must not hold it.
        try:
            with suppress_unsupported():
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            message = "another process is writing this run: wait for it or cancel it"
            raise BlockingIOError(error.errno, message) from error


def _checksum(head_bytes: int, body_bytes: int, head: bytes, body: bytes) -> int:
    lengths = struct.pack("<II", head_bytes, body_bytes)
    return zlib.crc32(body, zlib.crc32(head, zlib.crc32(lengths)))


def _identity(header: bytes) -> str | None:
    if len(header) < HEADER_BYTES:
        return None
    magic, identity, checksum = _HEADER.unpack(header)
    if magic != _MAGIC or zlib.crc32(magic + identity) != checksum:
        return None
    return bytes(identity).hex()
