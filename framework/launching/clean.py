"""A process to check runs in that has torch and the installed components imported, nothing else.

It is forked before anything that a configuration names is imported. Each run goes there as the job
will get it, as a `config.gin` with the files of its plug-ins beside, and is read, resolved and
worked on in a fork: what one run's plug-ins or components do to the interpreter does not reach
another's, nor does the launcher's own state. Runs that differ in their seed alone share a fork
where they are only read.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import framework.training.experiment  # noqa: F401  (registers what config.gin binds)
from framework import plugins
from framework.configuration import Configuration, Resolved
from framework.errors import UserError
from framework.grid.plan import Cell, Plan
from framework.launching import snapshots
from framework.probing import workers
from framework.probing.probe import PARALLEL
from framework.probing.workers import Failure

Result = TypeVar("Result")


@dataclass(frozen=True)
class Frozen:
    """A run as its job gets it, and the identity that it has to have there."""

    path: Path
    identity: str

    def load(self) -> Resolved:
        """Return the run as its file says it.

        Raises:
            UserError: it is another run.
        """
        sys.path.insert(0, str(self.path.parent))  # as a job does
        resolved = Configuration.load([self.path]).resolve()
        if resolved.identity != self.identity:
            raise UserError(
                "its configuration, written down and read again with nothing else imported, is "
                "another run: does a plug-in depend on what was imported before it?"
            )
        return resolved


class CleanProcess:
    """`with CleanProcess() as clean: clean.each(work, runs, 2)`."""

    def __init__(self) -> None:
        plugins.load_installed()
        workers.warm_up()
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._pipe))

    def __enter__(self) -> CleanProcess:
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        if error is not None:
            self._process.terminate()
        self._process.join()

    def each(
        self,
        work: Callable[[Resolved], Result],
        tasks: Sequence[Resolved],
        parallel: int,
        done: Callable[[int], None] | None = None,
    ) -> list[Result | Failure]:
        """Return what `work` makes of each run, in order: `workers.each`, but from a clean state.

        `work` has to be picklable.

        Raises:
            UserError: the process was killed.
        """
        with _frozen(tasks) as frozen:
            return self._ask(partial(_loaded, work), frozen, parallel, done)

    def read(self, planned: Plan) -> None:
        """See that every cell of a grid is the run that it is to be, as its job reads it.

        Raises:
            UserError: one is not; the message names its arm.
        """
        groups = [list(cells) for _, cells in groupby(planned.cells, _but_for_the_seed)]
        with _frozen([cell.resolved for cell in planned.cells]) as frozen:
            files = iter(frozen)
            tasks = [[next(files) for _ in cells] for cells in groups]
            found = self._ask(_read, tasks, PARALLEL)
        for cells, failure in zip(groups, found, strict=True):
            if failure is not None:
                raise UserError(f"arm '{cells[0].arm}': {failure.why}")

    def _ask(
        self,
        work: Callable[[Any], Any],
        tasks: Sequence[Any],
        parallel: int,
        done: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """Have `workers.each` run in the clean process."""
        try:
            self._pipe.send((work, tasks, parallel, sys.path))
            while isinstance(answer := self._pipe.recv(), int):
                if done is not None:
                    done(answer)
        except (EOFError, ConnectionError) as error:
            raise UserError("the process that checks was killed: too little memory?") from error
        results: list[Any] = answer
        return results


def _but_for_the_seed(cell: Cell) -> tuple[str, Mapping[str, str]]:
    return cell.arm, cell.tuned


@contextmanager
def _frozen(runs: Sequence[Resolved]) -> Iterator[list[Frozen]]:
    """Yield runs as files, in a folder that goes with the context."""
    with tempfile.TemporaryDirectory(prefix="tvmlab-check-") as folder:
        yield _write(Path(folder), runs)


def _write(folder: Path, runs: Sequence[Resolved]) -> list[Frozen]:
    for name, text in snapshots.plugin_files({p for run in runs for p in run.plugins}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    frozen = []
    for index, run in enumerate(runs):
        path = folder / f"{index}.gin"
        path.write_text(run.text(), encoding="utf-8")
        frozen.append(Frozen(path, run.identity))
    return frozen


def _loaded(work: Callable[[Resolved], Result], frozen: Frozen) -> Result:
    return work(frozen.load())


def _read(files: Sequence[Frozen]) -> None:
    for frozen in files:
        frozen.load()


def _serve(pipe: Connection, other: Connection) -> None:
    """Work until the launcher closes its end; the entry point of the process."""
    other.close()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it and its forks without a word
    with suppress(EOFError, ConnectionError):
        while True:
            work, tasks, parallel, paths = pipe.recv()
            sys.path += [path for path in paths if path not in sys.path]
            pipe.send(workers.each(work, tasks, parallel, pipe.send))
