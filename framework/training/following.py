"""What processes of a run leave behind that follow the first one: nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from framework.results import RunWriter
from framework.training.heartbeat import Heartbeat, Pulse


class NoWriter:
    """Takes what a `RunWriter` takes."""

    def __enter__(self) -> NoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing."""

    def samples(self, *args: Any) -> None:
        """Do nothing."""

    def evaluation(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def flight_record(self, values: Mapping[str, Any]) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""


class NoPulse(Pulse):
    """A heartbeat that nobody hears."""

    def __init__(self) -> None:
        super().__init__(Path(), Heartbeat())

    def beat(self, force: bool = False) -> None:
        """Do nothing."""


Writer = RunWriter | NoWriter
