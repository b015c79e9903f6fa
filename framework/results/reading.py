"""Reading one run: the published HDF5 with the journal's newer tail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from framework.results import layout
from framework.results.publishing import evaluation_table
from framework.results.records import (
    SCALAR,
    Changes,
    Evaluation,
    RunConfig,
    RunPlace,
    SampleKey,
    Samples,
    merge_evaluations,
    merge_scalars,
)
from framework.results.stored import journal_alone, newer, published, warn_damaged

if TYPE_CHECKING:
    import pandas as pd

_T = TypeVar("_T")


@dataclass(frozen=True)
class RunResults:
    """Everything a run has recorded.

    Attributes:
        directory: the run's folder.
        config: what produced it.
        scalars: tag -> frame with the columns step, value, time.
        evaluations: a frame with the columns of /evaluations, one row a measured value.
        samples: (step, nfe) -> images; they are unpacked when asked for.
        flight_recorder: name -> one row a step, floats (n,), NaN-padded floats (n, L) or text
            (n,); empty where nothing was recorded.
    """

    directory: Path
    config: RunConfig
    scalars: Mapping[str, pd.DataFrame]
    evaluations: pd.DataFrame
    samples: Mapping[SampleKey, Samples]
    flight_recorder: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Tables:
    """A run's numbers as stored: points per tag (dtype SCALAR) and the evaluations table.

    `commit` is the code that it was made with, in words.
    """

    place: RunPlace
    commit: str
    scalars: list[tuple[str, NDArray[Any]]]
    evaluations: NDArray[Any] | None


def read_run(directory: Path | str) -> RunResults:
    """Everything that the run in `directory` has recorded, up to its last flush.

    Raises:
        DamagedRunError: neither its HDF5 nor its journal can be read, or it holds no run.
        NewerSchemaError: a later version of tvmlab wrote it.
    """
    directory = Path(directory)
    return _read(directory, lambda base, changes: _results(directory, base, changes))


def read_tables(
    directory: Path, kinds: Collection[str] | None, metrics: Collection[str] | None
) -> Tables:
    """The run's scalars and evaluations; of the metrics named only, where `metrics` is given.

    Raises:
        DamagedRunError, NewerSchemaError: as `read_run`.
    """

    def read(base: h5py.File | None, changes: Changes) -> Tables:
        scalars: list[tuple[str, NDArray[Any]]] = []
        evaluations = None
        if kinds is None or "scalar" in kinds:
            scalars = sorted(_scalars(base, changes, metrics), key=itemgetter(0))
        if kinds is None or "evaluation" in kinds:
            evaluations = _evaluations(base, changes)
        if changes.config is not None:
            return Tables(changes.config.place, changes.config.commit, scalars, evaluations)
        return Tables(layout.read_place(base), layout.read_commit(base), scalars, evaluations)

    return _read(directory, read)


def _read(directory: Path, read: Callable[[h5py.File | None, Changes], _T]) -> _T:
    """Calls `read` with the published file and the changes since; with the journal if need be."""
    try:
        with published(directory) as base:
            changes = None if base is None else newer(directory, base)
            if changes is not None:
                return read(base, changes)
    except layout.DAMAGE as error:
        changes = journal_alone(directory, error)
        warn_damaged(directory / layout.HDF5_NAME, error, "its journal is read instead")
        return read(None, changes)
    return read(None, journal_alone(directory))


def _results(directory: Path, base: h5py.File | None, changes: Changes) -> RunResults:
    import pandas as pd  # who trains needs none

    table = _evaluations(base, changes)
    rows = layout.evaluation_rows(table)
    sorted_scalars = sorted(_scalars(base, changes, None), key=itemgetter(0))
    return RunResults(
        directory=directory,
        config=_config(base, changes),
        scalars={tag: pd.DataFrame(points) for tag, points in sorted_scalars},
        evaluations=pd.DataFrame(rows, columns=list(Evaluation._fields)),
        samples=dict(_samples(base, changes)),
        flight_recorder=_flight(base, changes),
    )


def _config(base: h5py.File | None, changes: Changes) -> RunConfig:
    if changes.config is not None:
        return changes.config
    return layout.read_config(base)


def _scalars(
    base: h5py.File | None, changes: Changes, wanted: Collection[str] | None
) -> Iterator[tuple[str, NDArray[Any]]]:
    pending = {t: p for t, p in changes.scalars.items() if wanted is None or t in wanted}
    for tag, stored in layout.read_scalars(base, wanted) if base is not None else ():
        parts = pending.pop(tag, [])
        untouched = not parts and changes.keep is None
        points = stored if untouched else merge_scalars(stored, parts, changes.keep)
        if len(points):
            yield tag, points
    for tag, parts in pending.items():
        yield tag, merge_scalars(np.empty(0, SCALAR), parts, None)


def _evaluations(base: h5py.File | None, changes: Changes) -> NDArray[Any] | None:
    table = None if base is None else layout.read_evaluation_table(base)
    if changes.keep is None and not changes.evaluations:
        return table
    rows = merge_evaluations(layout.evaluation_rows(table), changes.evaluations, changes.keep)
    return evaluation_table(rows) if rows else None


def _samples(base: h5py.File | None, changes: Changes) -> Iterator[tuple[SampleKey, Samples]]:
    for key, dataset in layout.sample_datasets(base).items() if base is not None else ():
        if key not in changes.samples and (changes.keep is None or key.step <= changes.keep):
            yield key, layout.read_samples(dataset)
    yield from changes.samples.items()


def _flight(base: h5py.File | None, changes: Changes) -> dict[str, NDArray[Any]]:
    if changes.flight is not None:
        recorded = layout.flight_columns(list(changes.flight))
        return {name: values for name, (values, _) in recorded.items()}
    columns = {} if base is None else layout.read_flight(base)
    if "step" not in columns or changes.keep is None:
        return columns
    kept = columns["step"] <= changes.keep
    return {name: values[kept] for name, values in columns.items()} if kept.any() else {}
