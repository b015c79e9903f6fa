"""Stopping on request: a signal sets a flag, and the loop looks at it between steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from framework.distribution import World
from framework.distribution.world import Answer

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """The name of the signal that asked a run to stop, or an empty string."""

    def __init__(self) -> None:
        self.signal = ""

    def __bool__(self) -> bool:
        return bool(self.signal)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal (a signal handler)."""
        self.signal = signal.Signals(number).name


class AgreedStop:
    """A request to any process of a run, which all of them hear of at the same step.

    What a process knows at one step all know at the next: the question travels from host to host
    while the step runs, so that asking costs microseconds and waits for no device.
    """

    def __init__(self, request: StopRequest, world: World) -> None:
        self.signal = ""
        self._request = request
        self._world = world
        self._asked: Answer | None = None

    def agreed(self) -> bool:
        """Return whether to stop; all processes ask once a step."""
        if self._world.size == 1:
            self.signal = self._request.signal
            return bool(self.signal)
        if self._asked is not None and (number := self._asked.largest()):
            self.signal = signal.Signals(number).name
            return True
        own = self._request.signal
        self._asked = self._world.ask(signal.Signals[own].value if own else 0)
        return False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn signals into a request for as long as the context lasts (main thread only)."""
    request = StopRequest()
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
