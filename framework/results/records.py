"""What a run records, as journal records and in memory: the changes since the HDF5 was published.

Steps count completed optimizer steps (int64 >= 0); times are Unix seconds (float64).
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from framework.results.journal import Record

SCALAR = np.dtype([("step", "<i8"), ("value", "<f8"), ("time", "<f8")])
FLIGHT_STEPS = 64

FlightRecord = dict[str, Any]
"""One step of the flight recorder: name -> float, list of floats, or text."""


@dataclass(frozen=True)
class RunConfig:
    """What produced a run: everything needed to say where its numbers come from.

    Attributes:
        gin_text: the frozen configuration, re-runnable as it is.
        resolved: the same as a JSON-able mapping from binding to value.
        identity: hash of the resolved configuration that names the run.
        grid, arm, seed: the run's place in its grid.
        varied: the arm's varied settings, binding -> JSON value; they become columns.
        git_commit, git_diff: the code, and what was not committed of it.
        versions: package -> version.
        host, device, command: where and how it was started.
        sources: component, or module beside it -> SHA-256 of its file.
        metric, metric_nfe: what the grid ranks by, and at how many network evaluations ("" and 0
            where it does not say).
    """

    gin_text: str
    resolved: Mapping[str, Any]
    identity: str
    grid: str
    arm: str
    seed: int
    varied: Mapping[str, Any] = field(default_factory=dict)
    git_commit: str = ""
    git_diff: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    device: str = ""
    command: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    metric: str = ""
    metric_nfe: int = 0

    @property
    def commit(self) -> str:
        """The code in words: the commit, and whether something was not committed."""
        return code_state(self.git_commit, self.git_diff)

    @property
    def place(self) -> RunPlace:
        """Where the run stands in its grid."""
        return RunPlace(self.identity, self.grid, self.arm, self.seed, self.varied)


def code_state(commit: str, diff: str) -> str:
    """The commit, with a word on changes beyond it."""
    return commit + (" with uncommitted changes" if diff else "")


class RunPlace(NamedTuple):
    """Where a run stands in its grid; see `RunConfig`."""

    identity: str
    grid: str
    arm: str
    seed: int
    varied: Mapping[str, Any]


CHOSEN = -1
"""The NFE of scores whose sampler chose the number of evaluations: the metric `nfe` says it."""


class Evaluation(NamedTuple):
    """One measured value of a metric; see `RunWriter.evaluation` for the columns."""

    step: int
    metric: str
    value: float
    direction: str
    nfe: int
    w: float
    weights: str
    sampler: str
    time_grid: str
    block: int
    samples: int
    time: float

    @property
    def key(self) -> tuple[Any, ...]:
        """What the value was measured of: the same key again replaces the value."""
        w = "nan" if self.w != self.w else self.w
        return (self.step, self.metric, self.nfe, w, *self[6:11])


class SampleKey(NamedTuple):
    """Where sample images belong: (step, number of function evaluations)."""

    step: int
    nfe: int


@dataclass(frozen=True)
class Samples:
    """Images drawn from fixed latents and classes.

    `packed` is the zlib stream of the uint8 images of `shape` (n, H, W, C); `labels` the n
    classes (int64, -1 where there is none).
    """

    packed: bytes = field(repr=False)
    shape: tuple[int, ...]
    labels: NDArray[np.int64]

    @classmethod
    def pack(cls, images: NDArray[np.uint8], labels: Sequence[int] | NDArray[Any]) -> Samples:
        """Packs uint8 images (n, H, W, C) and their n labels."""
        packed = zlib.compress(np.ascontiguousarray(images).data, level=1)
        return cls(packed, images.shape, np.asarray(labels, np.int64))

    @property
    def images(self) -> NDArray[np.uint8]:
        """The images, uint8 (n, H, W, C).

        Raises:
            ValueError: they are damaged.
        """
        try:
            return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.shape)
        except zlib.error as error:
            raise ValueError(f"these sample images are damaged: {error}") from error


@dataclass
class Changes:
    """What happened to a run since its HDF5 file: steps dropped, things added.

    `keep` is the last step of the file that still counts (None: all of them).
    """

    keep: int | None = None
    config: RunConfig | None = None
    scalars: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    samples: dict[SampleKey, Samples] = field(default_factory=dict)
    flight: list[FlightRecord] | None = None

    def apply(self, record: Record) -> None:
        """Takes in one journal record; kinds of a later version are passed over."""
        head = record.head
        match record.kind:
            case "config":
                names = {item.name for item in fields(RunConfig)}
                self.config = RunConfig(**{k: v for k, v in head.items() if k in names})
            case "rewind":
                self.rewind(int(head["keep"]))
            case "scalars":
                values = np.frombuffer(record.body, SCALAR)
                ends = np.cumsum(list(head["counts"].values()))
                for tag, part in zip(head["counts"], np.split(values, ends[:-1]), strict=True):
                    self.scalars.setdefault(tag, []).append(part)
            case "evaluation":
                self.evaluations.append(Evaluation(**head["row"]))
            case "samples":
                key = SampleKey(head["step"], head["nfe"])
                labels = np.asarray(head["labels"], np.int64)
                self.samples[key] = Samples(record.body, tuple(head["shape"]), labels)
            case "flight":
                self.flight = list(head["steps"])

    def rewind(self, keep: int) -> None:
        """Drops everything recorded at a step beyond `keep`."""
        self.keep = keep if self.keep is None else min(self.keep, keep)
        kept = {t: [p[p["step"] <= keep] for p in parts] for t, parts in self.scalars.items()}
        self.scalars = {t: parts for t, parts in kept.items() if any(map(len, parts))}
        self.evaluations = [row for row in self.evaluations if row.step <= keep]
        self.samples = {key: value for key, value in self.samples.items() if key.step <= keep}
        if self.flight is not None:
            self.flight = [entry for entry in self.flight if entry["step"] <= keep]


def replay(records: Sequence[Record]) -> Changes:
    """The changes that journal records add up to."""
    changes = Changes()
    for record in records:
        changes.apply(record)
    return changes


def config_record(config: RunConfig) -> Record:
    """A journal record of the configuration; the last one counts."""
    values = {item.name: getattr(config, item.name) for item in fields(RunConfig)}
    plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    return Record({"kind": "config", **plain})


def rewind_record(keep: int) -> Record:
    """A journal record that drops everything beyond step `keep`."""
    return Record({"kind": "rewind", "keep": keep})


def scalars_record(scalars: Mapping[str, NDArray[Any]]) -> Record:
    """A journal record of points per tag, each array of dtype SCALAR."""
    counts = {tag: len(points) for tag, points in scalars.items()}
    body = b"".join(np.ascontiguousarray(points, SCALAR).tobytes() for points in scalars.values())
    return Record({"kind": "scalars", "counts": counts}, body)


def evaluation_record(row: Evaluation) -> Record:
    """A journal record of one measured value."""
    return Record({"kind": "evaluation", "row": row._asdict()})


def samples_record(key: SampleKey, samples: Samples) -> Record:
    """A journal record of one set of sample images."""
    head = {"kind": "samples", **key._asdict(), "shape": samples.shape}
    return Record({**head, "labels": samples.labels.tolist()}, samples.packed)


def flight_record(steps: Sequence[FlightRecord]) -> Record:
    """A journal record of the flight recorder's content, which replaces the one before."""
    return Record({"kind": "flight", "steps": list(steps)})


def merge_scalars(
    base: NDArray[Any] | None, parts: Sequence[NDArray[Any]], keep: int | None
) -> NDArray[Any]:
    """The points of a tag, (n,) of dtype SCALAR, by step; of two at one step the later counts."""
    whole = [] if base is None else [base if keep is None else base[base["step"] <= keep]]
    points = np.concatenate([*whole, *parts]) if whole or parts else np.empty(0, SCALAR)
    steps = points["step"]
    if np.all(steps[1:] > steps[:-1]):
        return points
    # from the back: unique keeps the first it meets of each step, which is the latest written
    _, index = np.unique(steps[::-1], return_index=True)
    return points[len(points) - 1 - index]


def merge_evaluations(
    base: Sequence[Evaluation], added: Sequence[Evaluation], keep: int | None
) -> list[Evaluation]:
    """The rows in the order written; of two with one key the later counts."""
    kept = base if keep is None else [row for row in base if row.step <= keep]
    return list({row.key: row for row in (*kept, *added)}.values())


def points_of(column: array[float]) -> NDArray[Any]:
    """A buffered column of step, value, time in turn as points of dtype SCALAR."""
    rows = np.frombuffer(column, np.float64).reshape(-1, 3)
    points = np.empty(len(rows), SCALAR)
    points["step"], points["value"], points["time"] = rows.T
    return points


def flight_value(name: str, value: object) -> float | list[float] | str:
    """A flight recorder's value as plain Python.

    Raises:
        ValueError: it has more than one dimension.
    """
    if isinstance(value, str):
        return value
    numbers = np.asarray(value, np.float64)
    if numbers.ndim > 1:
        raise ValueError(f"flight record {name!r} has shape {numbers.shape}: give at most one axis")
    plain: float | list[float] = numbers.tolist()
    return plain
