"""Writing a grid's folder: everything, or nothing."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from framework.errors import UserError
from framework.files import publish
from framework.grid.manifest import FILE, Manifest
from framework.launching import snapshots
from framework.launching.decisions import Decision
from framework.launching.job_files import JOBS
from framework.launching.snapshots import CODE
from framework.runs import CONFIG, outcomes
from framework.runs.sources import SOURCES, text_of

FORMER = ".former"
LOCK = ".lock"
SPARE_BYTES = 16 * 1024 * 1024


def check_room(grid: Path, decisions: Sequence[Decision]) -> None:
    """Refuse a place that has no room for a launch.

    Raises:
        UserError: the disk is full.
    """
    place = grid.absolute()
    while not place.exists():
        place = place.parent
    needed = SPARE_BYTES + sum(len(d.cell.resolved.text()) for d in decisions if d.run)
    total, _, free = shutil.disk_usage(place)
    if total and free < needed:
        raise UserError(
            f"{grid}: {free / 2**20:.1f} MiB are free and a launch needs {needed / 2**20:.1f}: "
            "make room, or choose another --output"
        )


def create(grid: Path) -> ExitStack:
    """Make a grid's folder; return what undoes that, for as long as it is not `pop_all`ed.

    Raises:
        UserError: it may not be made there.
    """
    undo = ExitStack()
    try:
        _make(grid, undo)
        _make(grid / JOBS, undo)
    except OSError as error:
        undo.close()
        raise refusal(grid, error) from error
    return undo


def write(grid: Path, manifest: Manifest, decisions: Sequence[Decision], undo: ExitStack) -> None:
    """Write the manifest, then the frozen configuration of every cell that is to run.

    Raises:
        UserError: no space or no permission; all is as it was before.
    """
    path = grid / FILE
    before = path.read_text(encoding="utf-8") if path.exists() else None
    try:
        manifest.write(grid)
        undo.callback(_restore, path, before)
        for decision in decisions:
            if decision.run:
                _write_run(grid, decision, undo)
    except OSError as error:
        undo.close()
        raise refusal(grid, error) from error


def keep_code(grid: Path, undo: ExitStack) -> Path:
    """Copy the code that jobs run into the grid's folder, unless it is there; return where.

    Raises:
        UserError: no space or no permission; all is as it was before.
    """
    try:
        _make(grid / CODE, undo)
        kept, new = snapshots.keep_code(grid)
    except OSError as error:
        undo.close()
        raise refusal(grid, error) from error
    if new:
        undo.callback(shutil.rmtree, kept)
    return kept


def refusal(grid: Path, error: OSError) -> UserError:
    """Return the answer to a folder that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "make room, or choose another --output" if full else "choose another --output"
    return UserError(f"{error.filename or grid}: {error.strerror}: {what}")


def _write_run(grid: Path, decision: Decision, undo: ExitStack) -> None:
    run = grid / decision.cell.directory
    if decision.fresh:
        _put_away(grid, decision.cell.directory, undo)
    _make(run, undo)
    (run / outcomes.STOP).unlink(missing_ok=True)
    texts = {CONFIG: decision.cell.resolved.text()}
    if not decision.resumes:
        texts[SOURCES] = text_of(decision.sources)
    texts |= snapshots.plugin_files(decision.cell.resolved.plugins)
    for name, text in texts.items():
        path = run / name
        _make(path.parent, undo)
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before != text:
            undo.callback(_restore, path, before)
            publish(path, text)


def _put_away(grid: Path, directory: str, undo: ExitStack) -> None:
    """Move a run's folder aside, so that a fresh one takes its place."""
    run = grid / directory
    aside = grid / FORMER / f"{directory}-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 1000}"
    _make(aside.parent, undo)
    run.rename(aside)
    undo.callback(aside.rename, run)


def _make(folder: Path, undo: ExitStack) -> None:
    """Make a folder and those above it."""
    if folder.is_dir():
        return
    _make(folder.parent, undo)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    undo.callback(_remove, folder)


def _remove(folder: Path) -> None:
    """Remove a folder that this launch made, if nothing but its own is in it."""
    (folder / LOCK).unlink(missing_ok=True)
    if folder.name == JOBS:
        shutil.rmtree(folder)
    with suppress(OSError):
        folder.rmdir()


def _restore(path: Path, before: str | None) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    else:
        publish(path, before)
