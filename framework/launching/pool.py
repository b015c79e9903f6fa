"""A job: some cells of a grid, several at a time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from submitit.helpers import DelayedSubmission

from framework.launching import ranks, tasks, worker
from framework.runs import claims, outcomes

POLL_SECONDS = 0.25
SAVE_SECONDS = 60.0  # how long runs may take to reach a step's end and save
KILL_SECONDS = 600.0  # how long a scheduler may take to end a job that it told to stop


def import_paths() -> list[str]:
    """Return the folders in which this process finds modules, those of plug-ins among them."""
    return [str(Path(path).resolve()) for path in sys.path if Path(path).is_dir()]


@dataclass
class Running:
    """A run under way, the devices that it has, and its heartbeat from before it began."""

    directory: str
    process: BaseProcess
    gpus: Sequence[str]
    before: Mapping[str, Any]
    is_told: bool = False


@dataclass
class Pool:
    """Runs cells, each claimed when its turn comes: callable, and picklable as text.

    Runs are forked from this process, which imports torch once and computes nothing. One that
    crashes stops no other, unless `stop` is given. A cell that another process has claimed is
    waited for, and run here if it is left unfinished.

    Args:
        grid: The grid's folder.
        cells: Run folders below it, in order.
        runner: The function that runs one, as 'package.module:function'.
        created: When it was submitted (Unix time): what has ended since then is not started.
        parallel: How many run at a time.
        threads: How many threads each has; 0 shares out the cores that the job finds.
        gpus: Devices to share out, as CUDA names them; empty: runs see what the job sees.
        processes: How many processes train a run together. A local job starts them; of a
            scheduler's job each of its tasks is one, and its first task leads.
        requeues: How often a scheduler may have requeued this job before its runs are given up.
        stop: A file below the grid's folder that a failed run leaves and that stops all jobs which
            watch for it, or "": one failed run stops no other.
        lock: A file below the grid's folder, held for as long as the job lives, or "".
        local: Whether this is a local job: it leaves the launcher's terminal, so that Ctrl-C
            there does not reach it, and ends when told to, where a scheduler's is ended.
        paths: Where its process finds modules too, behind Python's own: the launcher's, by default.
    """

    grid: str
    cells: Sequence[str]
    runner: str
    created: float
    parallel: int = 1
    threads: int = 1
    gpus: Sequence[str] = ()
    processes: int = 1
    requeues: int | None = None
    stop: str = ""
    lock: str = ""
    local: bool = False
    paths: Sequence[str] = field(default_factory=import_paths)
    _running: list[Running] = field(default_factory=list, init=False, repr=False)
    _follows: bool = field(default=False, init=False, repr=False)
    _stopping: bool = field(default=False, init=False, repr=False)
    _halted: bool = field(default=False, init=False, repr=False)

    def __call__(self) -> None:
        """Run everything; the job's function."""
        signal.signal(signal.SIGTERM, self._on_stop)
        sys.path += [path for path in self.paths if path not in sys.path]
        if self.requeues is not None and tasks.restarts() > self.requeues:
            self._give_up()
            return
        if self.processes > 1 and not self.local:
            self._follows = tasks.rank_of_task(self.processes) > 0
        if self.local:
            with suppress(PermissionError):  # it leads a session already
                os.setsid()
        path = Path(self.grid) / self.lock
        with claims.hold(path, patience=None) if self.lock else nullcontext():
            self._run_all(list(self.cells))
        if self._stopping and not self.local:
            time.sleep(KILL_SECONDS)

    def checkpoint(self) -> DelayedSubmission:
        """Let runs save at a step's end, then have the job requeued (called by submitit)."""
        self._stop()
        deadline = time.monotonic() + SAVE_SECONDS
        for run in self._running:
            run.process.join(max(0.0, deadline - time.monotonic()))
        return DelayedSubmission(self)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_running": [], "_stopping": False, "_halted": False}

    def _run_all(self, waiting: list[str]) -> None:
        starts = self.processes if self.local else 1  # of a run, in this job or task
        self.threads = self.threads or max(1, cores() // (self.parallel * starts))
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        worker.load_runner(self.runner)  # and with it torch, which forked runs then share
        while (waiting and not self._stopping) or self._running:
            if self._is_halted():
                waiting.clear()
            self._stop_unwanted()
            self._fill(waiting)
            if self._running:
                connection.wait([r.process.sentinel for r in self._running], POLL_SECONDS)
            elif waiting:
                time.sleep(POLL_SECONDS)  # all that is left runs elsewhere
            for run in [r for r in self._running if r.process.exitcode is not None]:
                self._running.remove(run)
                if self._is_elsewhere(run):
                    waiting.append(run.directory)

    def _give_up(self) -> None:
        """Write down that runs failed which a scheduler has begun again too often."""
        cause = f"given up at attempt {tasks.restarts() + 1} (launch.requeues = {self.requeues})"
        for directory in self.cells:
            run = Path(self.grid) / directory
            with claims.claim(run) as mine:
                if mine and outcomes.is_wanted(run, self.created):
                    outcomes.record(run, "failed", cause)
                    self._say_failed()

    def _say_failed(self) -> None:
        """Tell all jobs, if one failed run is to stop the others."""
        if self.stop:
            (Path(self.grid) / self.stop).touch()

    def _is_halted(self) -> bool:
        """Return whether a run failed that was to stop all others; tell those here, once."""
        if not self._halted and self.stop and (Path(self.grid) / self.stop).exists():
            self._halted = True
            self._end_runs()
        return self._halted

    def _stop_unwanted(self) -> None:
        """Let runs save and stop that were cancelled on their own."""
        for run in self._running:
            if not run.is_told and (Path(self.grid) / run.directory / outcomes.STOP).exists():
                run.process.terminate()
                run.is_told = True

    def _fill(self, waiting: list[str]) -> None:
        """Start what is free and unfinished, as far as there is room."""
        for directory in list(waiting):
            if self._stopping or len(self._running) >= self.parallel:
                return
            run = Path(self.grid) / directory
            if not run.is_dir() or not outcomes.is_wanted(run, self.created):
                waiting.remove(directory)
            elif self._follows or not claims.is_held(run / claims.LOCK):
                waiting.remove(directory)
                with ranks.held_back():
                    self._running.append(self._start(directory))

    def _start(self, directory: str) -> Running:
        taken = [gpu for run in self._running for gpu in run.gpus]
        gpus = sorted(self.gpus, key=taken.count)[: self.processes]
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        run = Path(self.grid) / directory
        starts = self.processes if self.local else 1
        arguments = (run, self.runner, environment, self.threads, self.created, starts)
        context = multiprocessing.get_context("fork")
        process = context.Process(
            target=worker.work, args=(*arguments, self._follows), name=directory
        )
        before = outcomes.read(run)
        process.start()
        return Running(directory, process, gpus, before)

    def _is_elsewhere(self, run: Running) -> bool:
        """See how a process ended; return whether its cell turned out to be claimed."""
        code = run.process.exitcode or 0
        if code == worker.ELSEWHERE:
            return True
        if self._follows:
            tasks.end_follower(Path(self.grid) / run.directory, code)
            return False
        directory = Path(self.grid) / run.directory
        state = outcomes.conclude(directory, code, run.before)
        if state == "stopped" and (directory / outcomes.STOP).exists():
            outcomes.cancel(directory, self.created)  # so that no job goes on with it
        failed = state == "failed"
        if failed:
            self._say_failed()
        if failed and self.processes > 1 and not self.local:
            sys.exit(1)  # ends the job's other tasks, which wait for this one's process
        return False

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._end_runs()

    def _end_runs(self) -> None:
        for run in self._running:
            if run.process.is_alive():
                run.process.terminate()


def cores() -> int:
    """Return how many cores this process may use: on SLURM, of those that its job was given.

    Not every cluster binds a job to them.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(bound or 1, tasks.cores_given() or bound or 1))
