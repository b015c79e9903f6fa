"""The pulse of a run: `heartbeat.json`, replaced whole at most once a second."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from framework.files import publish
from framework.runs import outcomes


class State(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DIVERGED = "diverged"
    STOPPED = "stopped"


@dataclass
class Heartbeat:
    """What a run says of itself.

    `seconds` counts time spent stepping up to `step`, over all attempts but without steps that were
    lost and repeated; `updated` is a Unix time; `cause` says why a run failed, diverged or stopped,
    `diverged_step` where, and `origin` what first was not finite there; `flops_per_step` are the
    floating-point operations of an update (`flops.flops_per_step`), 0.0 where they are not known;
    `memory` is the most bytes that were allocated on the GPU, 0 on a CPU.
    """

    state: State = State.QUEUED
    step: int = 0
    steps: int = 0
    steps_per_second: float = 0.0
    seconds: float = 0.0
    flops_per_step: float = 0.0
    memory: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    cause: str = ""
    diverged_step: int | None = None
    origin: str = ""
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    job_id: str = field(default_factory=lambda: os.environ.get("SLURM_JOB_ID", ""))
    updated: float = 0.0


class Pulse:
    """Writes a run's heartbeat."""

    INTERVAL_SECONDS = 1.0

    def __init__(self, directory: Path, heartbeat: Heartbeat) -> None:
        self._path = directory / outcomes.FILE
        self.now = heartbeat
        self._written = -math.inf  # by a clock that nobody sets back

    def beat(self, force: bool = False) -> None:
        """Write the heartbeat if the last one is old enough, or if forced.

        What is forced outlives a crash of the machine. Beats between do without: waiting for the
        disk each second would take a percent of the time.
        """
        if not force and time.monotonic() - self._written < self.INTERVAL_SECONDS:
            return
        self._written = time.monotonic()
        self.now.updated = time.time()
        publish(self._path, json.dumps(asdict(self.now)), durable=force)


def read(directory: Path) -> Heartbeat | None:
    """Return the last heartbeat of a run folder, or None where there is none that can be read."""
    values = outcomes.read(directory)
    try:
        return Heartbeat(**(values | {"state": State(values["state"])}))
    except (KeyError, TypeError, ValueError):
        return None
