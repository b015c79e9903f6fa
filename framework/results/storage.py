"""Writing files so that a kill, a full disk or a lost node leaves the old or the new, whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, or give another --output",
    errno.EDQUOT: "the disk quota is used up: free some space, or give another --output",
    errno.EFBIG: "files may not grow so large here: raise the limit (ulimit -f)",
    errno.EACCES: "no permission: make the folder writable, or give another --output",
    errno.EPERM: "no permission: make the folder writable, or give another --output",
    errno.EROFS: "the disk is mounted read-only: give another --output",
    errno.EIO: "the disk reports an error: check it, or give another --output",
    errno.ESTALE: "the network disk went away: check the mount, then start the run again",
}


class StorageError(OSError):
    """A result could not be written; the message names the file and says what to change.

    Everything flushed before is still on the disk, and `results.h5` is the one published last.
    """


@contextmanager
def explained(path: Path, doing: str = "write") -> Iterator[None]:
    """Turns an OSError of the block into a StorageError on `path` with advice."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "check the disk and the permissions")
        raise StorageError(error.errno, f"cannot {doing} {path}: {reason} ({advice})") from error


def sync_directory(directory: Path) -> None:
    """Makes a rename or a new file in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress_unsupported():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def suppress_unsupported() -> Iterator[None]:
    """Lets pass that a file system does not know an operation (fsync of a folder, locks)."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK):
            raise


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Writes every byte; os.write alone may write fewer, on a disk that fills up for one."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def replace_file(path: Path, data: bytes) -> None:
    """Writes `data` beside `path`, fsyncs and renames it over `path`.

    At every moment `path` is the old file or the new one.

    Raises:
        StorageError: the disk is full or refuses; `path` is untouched, nothing is left beside it.
    """
    beside = path.with_name(f"{path.name}.writing")
    with explained(path):
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            beside.replace(path)
        except OSError:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
