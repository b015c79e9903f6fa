"""What processes of a run leave behind that follow the first one: nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from framework.results import RunWriter
from framework.runs.heartbeat import Heartbeat, Pulse


class NoWriter:
    """Takes what a `RunWriter` takes, its very arguments, and drops it."""

    def __enter__(self) -> Self:
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

    def samples(
        self,
        step: int,
        nfe: int,
        images: NDArray[np.uint8],
        labels: Sequence[int] | NDArray[np.integer] | None,
    ) -> None:
        """Do nothing."""

    def evaluation(
        self,
        step: int,
        metric: str,
        value: float,
        *,
        direction: Literal["lower", "higher"],
        nfe: int | None,
        w: float,
        weights: str,
        sampler: str,
        time_grid: str,
        block: int,
        samples: int,
    ) -> None:
        """Do nothing."""

    def flight_record(
        self, record: Mapping[str, float | str | NDArray[Any] | Sequence[float]]
    ) -> None:
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
