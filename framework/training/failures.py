"""What ended a run that several processes trained: the error of the first one that had one.

The others then fail as well, since they wait for it in vain: theirs say nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from framework.command import USAGE_ERROR
from framework.distribution import World
from framework.errors import UserError
from framework.runs import outcomes

log = logging.getLogger(__name__)


@contextmanager
def written_down(directory: Path) -> Iterator[None]:
    """Write down an error in the run's folder, unless another process has been first.

    Processes that make one run are refused for one reason: the first one to write it down raises
    its `UserError`, which the program says, and the others end with the same code and say nothing.
    """
    world = World.of_environment()
    if world.leads:
        (directory / outcomes.FAILURE).unlink(missing_ok=True)
    try:
        yield
    except BaseException as error:
        has_part = world.leads or dist.is_initialized()
        first = has_part and _is_first(directory, f"{_of(world)}{_in_words(error)}")
        if isinstance(error, UserError):
            if has_part and not first:
                raise SystemExit(USAGE_ERROR) from error
        elif first:
            log.exception("failed")
        raise


def cause(directory: Path, error: BaseException) -> str:
    """Return what ended the run, where `error` ended this process."""
    return outcomes.failure(directory) or _in_words(error)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _of(world: World) -> str:
    return f"process {world.rank} of {world.size}: " if world.size > 1 else ""


def _is_first(directory: Path, words: str) -> bool:
    """Publish the words at once and whole; return whether nobody had done so."""
    path = directory / outcomes.FAILURE
    beside = directory / f".{path.name}.{os.getpid()}"
    beside.write_text(words, encoding="utf-8")
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        return False
    finally:
        beside.unlink()
    return True
