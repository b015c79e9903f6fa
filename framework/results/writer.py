"""The only writer of a run's results: journal, HDF5 and, if asked, TensorBoard."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from framework.results import layout
from framework.results.journal import Record
from framework.results.names import TagNames
from framework.results.opening import open_journal
from framework.results.publishing import build
from framework.results.records import (
    CHOSEN,
    FLIGHT_STEPS,
    Changes,
    Evaluation,
    FlightRecord,
    RunConfig,
    SampleKey,
    Samples,
    evaluation_record,
    flight_record,
    flight_value,
    points_of,
    replay,
    samples_record,
    scalars_record,
)
from framework.results.storage import explained, replace_file
from framework.results.stored import journal_alone, published, warn_damaged
from framework.results.tensorboard import TensorBoardWriter

_PATIENCE = 400
"""A flush or publication that took c seconds comes again after 400 c at the earliest: 0.25 %."""


class RunWriter:
    """Writes a run's results so that a kill at any moment loses nothing that was flushed.

    Values are buffered, go to `results.journal` every `flush_seconds`, and to `results.h5` every
    `publish_seconds` and at the end; both come less often where the disk is slow or the file has
    grown large, so that they take at most 0.5 % of the time. A trainer calls `flush` before it
    saves a checkpoint: then the steps that a resumed run does not repeat are on the disk.

    Args:
        directory: the run's folder, made if missing.
        config: what produces the run.
        resume_step: the checkpoint's step that the run goes on from: everything recorded at a
            later step is dropped. 0 starts over: everything is dropped. None keeps everything.
        flush_seconds, publish_seconds: the shortest time between two flushes and publications.
        tensorboard: whether to write `tensorboard/` in the same folder, too.

    Raises:
        StorageError: the folder cannot be written, or another process writes to this run. Any
            method may raise it; the run's files are then as they were at the last flush.
        DamagedRunError: the run's HDF5 is damaged and there is no journal to restore it from.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: RunConfig,
        resume_step: int | None = None,
        flush_seconds: float = 5.0,
        publish_seconds: float = 60.0,
        tensorboard: bool = False,
    ) -> None:
        if resume_step is not None and resume_step < 0:
            raise ValueError(f"resume_step is {resume_step}: give a checkpoint's step, 0 or more")
        self._directory = Path(directory)
        self._flush_seconds, self._publish_seconds = flush_seconds, publish_seconds
        self._scalars: dict[str, array[float]] = {}
        self._queue: list[Record] = []
        self._flight: deque[FlightRecord] = deque(maxlen=FLIGHT_STEPS)
        self._flight_is_new = False
        self._names, self._flight_names = TagNames("scalar"), TagNames("flight record")
        self._closed = False
        with explained(self._directory, "make"):
            self._directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self._journal, self._changes = open_journal(self._directory, config, resume_step)
            stack.callback(self._journal.close)
            self._board: TensorBoardWriter | None = None
            if tensorboard:
                folder = self._directory / "tensorboard"
                self._board = TensorBoardWriter(folder, config=config, resume_step=resume_step)
                stack.callback(self._board.close)
            self._next_flush = self._next_publish = 0.0
            self.publish()
            self._resources = stack.pop_all()
        with published(self._directory) as base:
            for tag in layout.tags(base) if base is not None else ():
                self._names.check(tag)

    def scalar(self, tag: str, step: int, value: float) -> None:
        """Records one value; NaN and infinities are stored as they are.

        A value recorded again at the same tag and step replaces the one before.

        Raises:
            ValueError: the tag is empty, or also the name of a group of tags.
        """
        self.scalars(step, {tag: value})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Records values of one step, tag -> value; see `scalar`."""
        now = time.time()
        columns = self._scalars
        for tag, value in values.items():
            column = columns.get(tag)
            if column is None:
                self._names.check(tag)
                column = columns[tag] = array("d")
            column.extend((step, float(value), now))
        self._tick()

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
        """Records one measured value of a metric.

        The same metric of the same step, nfe, w, weights, sampler, time grid, block and number of
        samples replaces the value before.

        Args:
            step: completed optimizer steps.
            metric: its name, with the hash of what it depends on.
            value, direction: the value, and which is better, "lower" or "higher".
            nfe: network function evaluations per sample; None where the sampler chose their number.
            w: guidance weight; NaN without guidance.
            weights: which weights sampled, such as "trained" or the name of an average.
            sampler, time_grid: its name, and that of the times of its steps.
            block: number of the disjoint block of draws, for the evaluation's own noise.
            samples: how many samples were drawn.
        """
        if direction not in ("lower", "higher"):
            raise ValueError(f"direction is {direction!r}: give 'lower' or 'higher'")
        evaluations = CHOSEN if nfe is None else int(nfe)
        what = (evaluations, float(w), weights, sampler, time_grid, int(block), int(samples))
        row = Evaluation(int(step), metric, float(value), direction, *what, time.time())
        self._queue.append(evaluation_record(row))
        self._tick()

    def samples(
        self,
        step: int,
        nfe: int,
        images: NDArray[np.uint8],
        labels: Sequence[int] | NDArray[np.integer] | None,
    ) -> None:
        """Records images drawn from the run's fixed latents and classes.

        Args:
            step: completed optimizer steps.
            nfe: network function evaluations per sample.
            images: uint8 (n, H, W, 3) or (n, H, W, 1).
            labels: the n classes; None without classes.

        Raises:
            ValueError: another dtype or shape.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            given = f"{images.dtype} {images.shape}"
            raise ValueError(f"images are {given}: give uint8 (n, H, W, 1 or 3)")
        classes = np.full(len(images), -1) if labels is None else np.asarray(labels)
        if classes.shape != images.shape[:1]:
            raise ValueError(f"labels have shape {classes.shape}: give one an image, {len(images)}")
        key = SampleKey(int(step), int(nfe))
        self._queue.append(samples_record(key, Samples.pack(images, classes)))
        self._tick()

    def flight_record(
        self, record: Mapping[str, float | str | NDArray[Any] | Sequence[float]]
    ) -> None:
        """Records what one step looked like from within; the last 64 are kept.

        They are stored at the next `flush`, `publish` or `close`: call this every step or, after
        a divergence, for the last steps. The last step recorded again replaces what was there.

        Args:
            record: "step" and, by name, numbers, 1-D arrays of numbers, or text.

        Raises:
            ValueError: there is no "step", or an array of more than one dimension.
        """
        if "step" not in record:
            raise ValueError("a flight record needs its 'step'")
        for name in record:
            self._flight_names.check(name)
        entry = {name: flight_value(name, value) for name, value in record.items()}
        if self._flight and self._flight[-1]["step"] == entry["step"]:
            self._flight.pop()
        self._flight.append(entry)
        self._flight_is_new = True

    def flush(self) -> None:
        """Brings everything recorded to the disk, into the journal."""
        begin = time.monotonic()
        records = self._take()
        if records:
            self._journal.append(records)
            for record in records:
                self._changes.apply(record)
        self._scalars.clear()
        self._queue.clear()
        self._flight_is_new = False
        if self._board is not None and records:
            self._board.write(replay(records))
        self._next_flush = _later(begin, self._flush_seconds)

    def publish(self) -> None:
        """Flushes, then replaces results.h5 by one that holds everything recorded so far."""
        self.flush()
        begin = time.monotonic()
        replace_file(self._directory / layout.HDF5_NAME, self._image())
        self._changes = Changes()
        self._journal.hold()
        self._next_publish = _later(begin, self._publish_seconds)

    def close(self) -> None:
        """Publishes and closes; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with self._resources:
            self.publish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tick(self) -> None:
        now = time.monotonic()
        if now >= self._next_publish:
            self.publish()
        elif now >= self._next_flush:
            self.flush()

    def _take(self) -> list[Record]:
        """What is buffered, as records; the buffers stay until the disk has it."""
        records = []
        scalars = {tag: points_of(column) for tag, column in self._scalars.items() if column}
        if scalars:
            records.append(scalars_record(scalars))
        records += self._queue
        if self._flight_is_new:
            records.append(flight_record(list(self._flight)))
        return records

    def _image(self) -> bytes:
        """The bytes of the next results.h5."""
        path = self._directory / layout.HDF5_NAME
        position = (self._journal.identity, self._journal.end)
        try:
            with published(self._directory) as base:
                if base is not None and layout.journal_position(base)[0] == position[0]:
                    return build(base, self._changes, position)
        except layout.DAMAGE as error:
            warn_damaged(path, error, "it is made anew from the journal")
        return build(None, journal_alone(self._directory), position)


def _later(begin: float, least_seconds: float) -> float:
    now = time.monotonic()
    return now + max(least_seconds, _PATIENCE * (now - begin))
