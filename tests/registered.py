"""Components that tests register, and that are gone with them."""

from collections.abc import Iterator
from contextlib import contextmanager

from framework import registry


@contextmanager
def registry_kept() -> Iterator[None]:
    """Take out of the registry again what is put there while the context lasts."""
    before = dict(registry._components)
    try:
        yield
    finally:
        registry._components.clear()
        registry._components.update(before)
