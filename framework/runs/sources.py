"""The code that a run's steps are made with: its digests, kept when the run begins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

SOURCES = "sources.json"
MOST_NAMES = 4


def text_of(sources: Mapping[str, str]) -> str:
    """Return what the file in a run's folder holds."""
    return json.dumps(sources, indent=1) + "\n"


def changed_sources(run: Path, sources: Mapping[str, str]) -> tuple[str, ...]:
    """Return what of a run's code is not as it was when the run started; nothing if unknown."""
    try:
        stored = json.loads((run / SOURCES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(name for name, digest in sources.items() if stored.get(name, digest) != digest)


def listed(names: Sequence[str]) -> str:
    """Return the names of what has changed: 'a, b, c, d and 3 more'."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
