"""Replacing a file so that a reader sees the old one or the new one, whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a path beside a file; what the block writes there becomes the file.

    Args:
        path: The file.
        durable: Whether that is so even after a crash of the machine, which takes milliseconds.

    Raises:
        OSError: no space or no permission; the file is as it was, and nothing is left beside it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        if durable:
            with beside.open("rb") as file:
                os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def publish(path: Path, content: str, durable: bool = True) -> None:
    """Replace a file by text, see `replacing`."""
    with replacing(path, durable) as beside:
        beside.write_text(content, encoding="utf-8")
