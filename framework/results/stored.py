"""A run as it lies on the disk: the published HDF5 and the journal's newer tail.

The journal always holds the whole run; the HDF5 says how much of which journal it has. So either
may be missing or damaged, and the other one stands in.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from framework.results import journal, layout
from framework.results.journal import Record
from framework.results.records import (
    Changes,
    config_record,
    evaluation_record,
    flight_record,
    replay,
    samples_record,
    scalars_record,
)


class DamagedRunWarning(UserWarning):
    """A file of a run is damaged: the message names it and says what was done instead."""


class DamagedRunError(ValueError):
    """A run of which neither the HDF5 nor the journal can be read; the message names the file."""


@contextmanager
def published(directory: Path) -> Iterator[h5py.File | None]:
    """The run's results.h5, open for reading; None where there is none."""
    try:
        file = layout.open_published(directory / layout.HDF5_NAME)
    except FileNotFoundError:
        yield None
        return
    try:
        yield file
    finally:
        file.close()


def newer(directory: Path, base: h5py.File) -> Changes | None:
    """What the journal has beyond `base`; None where they are not of one piece.

    Then the journal was made anew after `base` was published, and holds the whole run.
    """
    identity, held = layout.journal_position(base)
    found = journal.scan(directory / layout.JOURNAL_NAME, held)
    if found.identity not in (None, identity):
        return None
    return replay(found.records)


def journal_alone(directory: Path, error: BaseException | None = None) -> Changes:
    """The whole run from its journal, where `error` kept results.h5 from being read.

    Raises:
        DamagedRunError: the journal does not hold a run either.
    """
    path = directory / layout.JOURNAL_NAME
    changes = replay(journal.scan(path).records)
    if changes.config is None:
        other = f"{directory / layout.HDF5_NAME}: damaged ({error}); " if error else ""
        raise DamagedRunError(f"{other}{path}: no journal, or a damaged one") from error
    return changes


def warn_damaged(path: Path, error: BaseException, instead: str) -> None:
    """Names a damaged file and what is done without it."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    warnings.warn(f"{path}: damaged ({reason}); {instead}", DamagedRunWarning, stacklevel=3)


def snapshot(base: h5py.File) -> list[Record]:
    """Everything in a published file as journal records, for a journal that was lost."""
    records = [config_record(layout.read_config(base))]
    scalars = dict(layout.read_scalars(base))
    if scalars:
        records.append(scalars_record(scalars))
    rows = layout.evaluation_rows(layout.read_evaluation_table(base))
    records += map(evaluation_record, rows)
    for key, dataset in layout.sample_datasets(base).items():
        records.append(samples_record(key, layout.read_samples(dataset)))
    steps = layout.flight_steps(base)
    if steps:
        records.append(flight_record(steps))
    return records
