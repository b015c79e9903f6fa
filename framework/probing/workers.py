"""Work in forked processes: a clean state for each piece, and torch imported once."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import nn

from framework.configuration import Resolved
from framework.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a piece of work gave no result, in one line."""

    why: str


class Each(Protocol):
    """Applies a function to runs, each in a fork of its own, as `each` below does."""

    def __call__(
        self,
        work: Callable[[Resolved], Result],
        tasks: Sequence[Resolved],
        parallel: int,
        done: Callable[[int], None] | None = None,
    ) -> list[Result | Failure]:
        """Return what `work` makes of each run, in order; what it raises is a `Failure`."""


def each(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    parallel: int,
    done: Callable[[int], None] | None = None,
) -> list[Result | Failure]:
    """Return what `work` makes of each task, in order; what it raises is a `Failure`.

    Args:
        work: The function; its result has to be picklable.
        tasks: What it is called with; forked, never pickled.
        parallel: How many processes at a time, of one thread each; 0 stays in this one.
        done: Told after each task how many are done.
    """
    done = done or _say_nothing
    if not parallel:
        results = []
        for task in tasks:
            results.append(_attempt(work, task))
            done(len(results))
        return results
    warm_up()
    found: dict[int, Result | Failure] = {}
    waiting = list(range(len(tasks)))
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                index = waiting.pop(0)
                receiver, process = _start(work, tasks[index])
                running[receiver] = (index, process)
            for ready in connection.wait(list(running)):
                assert isinstance(ready, Connection)
                index, process = running.pop(ready)
                found[index] = _receive(ready, process)
                done(len(found))
    finally:
        for _, process in running.values():
            process.kill()
    return [found[index] for index in range(len(tasks))]


def _say_nothing(count: int) -> None:
    """Stand in for who wants to know."""


def warm_up() -> None:
    """Import what torch imports at first use, so that forked processes share it.

    No backward pass: a process forked after one cannot make its own.
    """
    torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with torch.no_grad():
        one = torch.ones(1, 2)
        torch.func.jvp(lambda x: nn.functional.gelu(x, approximate="tanh"), (one,), (one,))
    with torch.device("meta"):
        nn.Linear(2, 2)(torch.zeros(1, 2))


def _start(work: Callable[[Task], Result], task: Task) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, work, task), daemon=True)
    process.start()
    sender.close()
    return receiver, process


def _run(sender: Connection, work: Callable[[Task], Result], task: Task) -> None:
    """Work, alone on one thread and without a word; the entry point of a forked process."""
    torch.set_num_threads(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    sender.send(_attempt(work, task))
    sender.close()


def _attempt(work: Callable[[Task], Result], task: Task) -> Result | Failure:
    try:
        return work(task)
    except UserError as error:
        return Failure(str(error))
    # Components are users' own code: whatever one raises here it would raise in the run.
    except Exception as error:  # noqa: BLE001
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        reason = " ".join(str(error).split())[:300]
        return Failure(f"{type(error).__name__}: {reason} ({where})")


def _receive(receiver: Connection, process: BaseProcess) -> Result | Failure:
    try:
        result: Result | Failure = receiver.recv()
    except EOFError:
        process.join()
        return Failure(
            f"the probe's process ended with code {process.exitcode}: too little memory?"
        )
    finally:
        receiver.close()
    process.join()
    return result
