"""Opening a run for writing: new, after a kill, from a checkpoint, or with a file lost."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path

from framework.results import journal, layout
from framework.results.journal import HEADER_BYTES, Journal, Record
from framework.results.records import (
    Changes,
    RunConfig,
    config_record,
    replay,
    rewind_record,
)
from framework.results.stored import (
    DamagedRunError,
    DamagedRunWarning,
    published,
    snapshot,
    warn_damaged,
)


def open_journal(
    directory: Path, config: RunConfig, resume_step: int | None
) -> tuple[Journal, Changes]:
    """Opens the run's journal for appending and drops the steps after `resume_step`.

    A torn tail is cut. A journal that is missing or damaged is made anew from the published file;
    with `resume_step` 0 it is made anew and empty.

    Returns:
        the journal, and the changes that the published file lacks.

    Raises:
        StorageError: the folder cannot be written, or another process writes to this run.
        DamagedRunError: the published file is damaged and there is no journal to restore it from.
    """
    path = directory / layout.JOURNAL_NAME
    if path.exists():
        Journal(path).close()  # another writer is noticed before anything is changed
    start, contents = (0, [config_record(config)]) if resume_step == 0 else _standing(directory)
    if contents is not None:
        if resume_step and not contents:
            message = f"{directory}: no results up to step {resume_step} are left"
            warnings.warn(message, DamagedRunWarning, stacklevel=3)
        journal.create(path, contents or [config_record(config)])
        start = HEADER_BYTES
    news = [config_record(config)]
    if resume_step is not None:
        news.insert(0, rewind_record(resume_step))
    with ExitStack() as stack:
        held = Journal(path)
        stack.callback(held.close)
        found = journal.scan(path, start)
        held.resume(found)
        held.append(news)
        stack.pop_all()
    return held, replay([*found.records, *news])


def _standing(directory: Path) -> tuple[int, list[Record] | None]:
    """How far the published file holds the journal, and what a new journal must begin with.

    The latter is None where the journal stands: it holds the whole run.
    """
    path = directory / layout.JOURNAL_NAME
    identity, size = journal.inspect(path)
    try:
        with published(directory) as base:
            if base is None:
                return HEADER_BYTES, None if identity else []
            origin, held = layout.journal_position(base)
            if identity is None or (identity == origin and held > size):
                if size:
                    warn_damaged(path, ValueError("cut short"), "it is made anew from results.h5")
                return HEADER_BYTES, snapshot(base)
            return held if identity == origin else HEADER_BYTES, None
    except layout.DAMAGE as error:
        published_path = directory / layout.HDF5_NAME
        if identity is None:
            raise DamagedRunError(
                f"{published_path}: damaged ({error}), and there is no journal to restore it from: "
                "move it away, or start the run over"
            ) from error
        warn_damaged(published_path, error, "it is made anew from the journal")
        return HEADER_BYTES, None
