"""Claims: a lock that the kernel releases when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framework.errors import UserError

LOCK = "lock"
PATIENCE_SECONDS = 1.0  # a reader that asks who holds a lock has it for an instant
POLL_SECONDS = 0.02

_descriptors: set[int] = set()


@contextmanager
def hold(path: Path, patience: float | None = PATIENCE_SECONDS) -> Iterator[bool]:
    """Hold a lock file for as long as the context lasts; yield whether it could be had.

    Args:
        path: The file, made if need be. It stays: removing it would let two hold it.
        patience: How long to try in seconds; None is for ever.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _descriptors.add(descriptor)
    try:
        mine = _acquire(descriptor, patience)
        if mine:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        yield mine
    finally:
        if descriptor in _descriptors:
            _descriptors.remove(descriptor)
            os.close(descriptor)


def leave_to_parent() -> None:
    """Let go, in a forked process, of what its parent holds: the parent's end then frees it."""
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()


@contextmanager
def claim(run: Path) -> Iterator[bool]:
    """Claim a run's folder: `with claim(run) as mine`. One that is gone is nobody's."""
    if not run.is_dir():
        yield False
        return
    with hold(run / LOCK) as mine:
        yield mine


@contextmanager
def claim_folder(run: Path) -> Iterator[None]:
    """Claim a run's folder, made if need be, for a user who asked for this very run.

    A folder that was made for nothing is removed again.

    Raises:
        UserError: another process trains it, or it cannot be made.
    """
    made = not run.exists()
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"cannot be made ({error.strerror}): choose another --output"
        raise UserError(f"{run}: {why}") from error
    try:
        with claim(run) as mine:
            if not mine:
                process, host = holder(run / LOCK) or ("?", "another host")
                raise UserError(
                    f"{run}: process {process} on {host} trains this run already: wait for it, or "
                    "choose another --output"
                )
            yield
    finally:
        if made and [entry.name for entry in run.iterdir()] == [LOCK]:
            (run / LOCK).unlink()
            run.rmdir()


def holder(path: Path) -> tuple[int, str] | None:
    """Return process and host of who holds a lock file, or None if nobody does."""
    if not is_held(path):
        return None
    process, _, host = path.read_text().partition(" ")
    return (int(process), host.strip()) if process.isdecimal() else None


def is_held(path: Path) -> bool:
    """Return whether someone holds a lock file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _acquire(descriptor: int, patience: float | None) -> bool:
    if patience is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True
