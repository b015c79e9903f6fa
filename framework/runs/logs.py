"""The last lines of what a run logged or printed."""

from __future__ import annotations

import os
from pathlib import Path

TAIL_BYTES = 8192


def last_lines(run: Path, count: int = 5, otherwise: Path | None = None) -> list[str]:
    """Return the end of what a run logged or printed last; else of another file, as its job's."""
    own = [path for name in ("log.txt", "output.txt") if (path := run / name).exists()]
    own.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    paths = [*own, *([] if otherwise is None else [otherwise])]
    return next((lines[-count:] for path in paths if (lines := tail(path))), [])


def tail(path: Path) -> list[str]:
    """Return the last lines of a file that are not blank; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line.rstrip() for line in lines if line.strip()]
