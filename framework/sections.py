"""Named sections of a training step, timed only while someone collects them.

The step's code says `with section("optimizer"):`; it costs nothing measurable outside `collected`.
On a GPU a section is a stretch of the device's timeline, marked by events and read at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch


@dataclass
class _Stretch:
    """One passage through a section."""

    name: str
    start: torch.cuda.Event | float
    end: torch.cuda.Event | float
    kept: int  # bytes that were allocated in it and still were at its end

    @property
    def milliseconds(self) -> float:
        if isinstance(self.start, torch.cuda.Event):
            assert isinstance(self.end, torch.cuda.Event)
            return self.start.elapsed_time(self.end)
        assert isinstance(self.end, float)
        return (self.end - self.start) * 1e3


@dataclass
class Collection:
    """What was collected; read it after the device has finished."""

    device: torch.device
    _stretches: list[_Stretch] = field(default_factory=list)

    def milliseconds(self) -> dict[str, float]:
        """Return the time in each section, summed, in the order of first entry."""
        totals: dict[str, float] = {}
        for stretch in self._stretches:
            totals[stretch.name] = totals.get(stretch.name, 0.0) + stretch.milliseconds
        return totals

    def kept_bytes(self) -> dict[str, int]:
        """Return the most that one passage through each section left allocated on the device."""
        most: dict[str, int] = {}
        for stretch in self._stretches:
            most[stretch.name] = max(most.get(stretch.name, stretch.kept), stretch.kept)
        return most

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Time the block under a name."""
        start, before = self._now(), self._allocated()
        yield
        kept = self._allocated() - before
        self._stretches.append(_Stretch(name, start, self._now(), kept))

    def _now(self) -> torch.cuda.Event | float:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _allocated(self) -> int:
        return torch.cuda.memory_allocated() if self.device.type == "cuda" else 0


_collection: Collection | None = None


def section(name: str) -> AbstractContextManager[None]:
    """Return a context that times its block if sections are being collected."""
    return nullcontext() if _collection is None else _collection.measure(name)


@contextmanager
def collected(device: torch.device) -> Iterator[Collection]:
    """Collect the sections entered in the block. One collection at a time."""
    global _collection
    _collection = Collection(device)
    try:
        yield _collection
    finally:
        _collection = None
