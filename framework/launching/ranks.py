"""The processes of one run on this machine, where no scheduler and no torchrun starts them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import FrameType

from framework.runs import claims

GRACE_SECONDS = 30.0  # for the first one to notice that another is gone, and to write down why
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)

_PR_SET_PDEATHSIG = 1


def together(
    count: int, begin: Callable[[], object], killed: Callable[[str], object] | None = None
) -> int:
    """Run a function in `count` forked processes that make one run, and wait for them.

    Each finds in its environment which one it is. This process must not have computed anything
    with torch, whose threads do not survive a fork. Signals are passed on; when one process fails
    the others are ended.

    Args:
        count: How many processes.
        begin: What each of them does.
        killed: Is told which process was killed, by what, if that ended the run: the others can
            only tell that a connection broke.

    Returns:
        0, or the exit code of the first process that failed.
    """
    fork = multiprocessing.get_context("fork")
    server, parent = socket.create_server(("127.0.0.1", 0)), os.getpid()
    processes: list[BaseProcess] = [
        fork.Process(target=_begin, args=(rank, count, server, parent, begin), name=f"rank {rank}")
        for rank in range(count)
    ]
    with _passed_on(processes):
        _start(processes)
        rank = _wait(processes)
    server.close()
    if rank is None:
        return 0
    code = processes[rank].exitcode or 0
    if killed is not None and _is_killed(code):
        killed(f"process {rank} of {count} was killed by {signal.Signals(-code).name}")
    return 128 - code if code < 0 else code


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait for as long as the context lasts; what is forked has to let them in itself.

    They would meet the parent's handlers there, and in the parent not yet know of the process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(parent: int) -> None:
    """Be told to stop when the parent is killed (Linux): an orphan would run on unseen."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was killed before that
        sys.exit(128 + signal.SIGTERM)


def stop_before_start(number: int, frame: FrameType | None) -> None:
    """End at once: until the runner handles signals itself there is nothing to save."""
    sys.exit(128 + number)


def _begin(
    rank: int, count: int, server: socket.socket, parent: int, begin: Callable[[], object]
) -> None:
    for number in SIGNALS:
        signal.signal(number, stop_before_start)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # as they were when it was forked
    end_with(parent)
    if rank:
        claims.leave_to_parent()  # the first one holds the run's folder too: it writes there
    for name in [name for name in os.environ if name.startswith("TORCHELASTIC_")]:
        del os.environ[name]  # of a torchrun around this one, whose store is not theirs
    port = server.getsockname()[1]
    if rank == 0:  # no other run can have taken the port before the processes meet there
        os.environ["MASTER_LISTEN_FD"] = str(server.detach())
    server.close()
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(count),
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    begin()


def _start(processes: Sequence[BaseProcess]) -> None:
    """Start the processes; a signal that comes meanwhile is passed on to all of them."""
    with held_back():
        for process in processes:
            process.start()


def _wait(processes: Sequence[BaseProcess]) -> int | None:
    """Wait until all are done, or one has failed and all have ended; return which one.

    A process that was killed comes before those that failed because of it.
    """
    while True:
        codes = {rank: process.exitcode for rank, process in enumerate(processes)}
        failed = [rank for rank, code in codes.items() if code]
        if failed:
            _end(processes)
            return min(failed, key=lambda rank: not _is_killed(codes[rank] or 0))
        alive = [process.sentinel for rank, process in enumerate(processes) if codes[rank] is None]
        if not alive:
            return None
        connection.wait(alive)


def _is_killed(code: int) -> bool:
    """Whether a process was ended from outside; one that aborts does so for want of others too."""
    return code < 0 and code != -signal.SIGABRT


def _end(processes: Sequence[BaseProcess]) -> None:
    """Give the first process time to end by itself, then kill what is left."""
    processes[0].join(GRACE_SECONDS)
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()


@contextmanager
def _passed_on(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Pass signals on to the processes for as long as the context lasts."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
