"""When Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Let Python look for no garbage meanwhile. Such contexts may nest, not overlap.

    Importing makes much that stays, and each search goes through all of it again: a quarter of the
    time that torch's compiler takes to import.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
