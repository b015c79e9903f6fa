"""What a run says of itself in `heartbeat.json`, and what is written there in its stead."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.files import publish
from framework.runs import claims
from framework.runs.logs import last_lines

FILE = "heartbeat.json"
ENDED = frozenset({"done", "failed", "diverged"})
FAILURE = "failure.txt"
CANCELLED = "cancelled"
STOP = "stop"
"""A file in a run's folder: its job is to stop this run. The next launch of the run removes it."""
KILLED = "killed by SIGKILL"
STOPPING = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


def read(run: Path) -> dict[str, Any]:
    """Return a run's heartbeat; nothing where there is none that can be read."""
    try:
        beat = json.loads((run / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return beat if isinstance(beat, dict) else {}


def updated(beat: Mapping[str, Any]) -> float:
    """Return when a heartbeat was written (Unix time), 0 if there is none."""
    return float(beat.get("updated") or 0.0)


def record(run: Path, state: str, cause: str, when: float | None = None) -> None:
    """Write the outcome of a run that cannot do so any more; the caller has claimed it.

    It is dated now, unless a time is given.
    """
    nobody = {"step": 0, "steps": 0, "pid": os.getpid(), "host": socket.gethostname()}
    dated = time.time() if when is None else when
    beat = {**nobody, **read(run), "state": state, "cause": cause, "updated": dated}
    publish(run / FILE, json.dumps(beat))


def cancel(run: Path, created: float) -> bool:
    """Mark a run of a submission of that time as cancelled; return whether it is.

    It is not if a process has claimed it, or if it has ended since then. It is cancelled as of its
    submission, or of its last word since: clocks of hosts differ, and a next one may be under way.
    """
    with claims.claim(run) as mine:
        wanted = mine and is_wanted(run, created)
        if wanted:
            record(run, "stopped", CANCELLED, max(created, updated(read(run))))
    return wanted


def blame(run: Path, cause: str) -> None:
    """Write down what ended a run, in place of what it said itself; the caller has claimed it."""
    publish(run / FAILURE, cause)
    record(run, "failed", cause)


def conclude(run: Path, code: int, before: Mapping[str, Any] | None = None) -> str:
    """Return how a run ended whose process exited with `code`, written down if it could not.

    Its heartbeat from `before` it began says how an earlier attempt ended.
    """
    beat = read(run)
    silent = bool(code and beat) and beat == before
    state = str(beat.get("state", "queued"))
    if state not in ("queued", "running") and not silent:
        return state
    number = -code if code < 0 else code - 128
    if not silent and (found := failure(run)):
        state, cause = "failed", found
    elif number in list(STOPPING):
        state, cause = "stopped", f"killed by {signal.Signals(number).name}"
    elif code < 0:
        state, cause = "failed", f"crashed with {signal.Signals(number).name}"
    else:
        lines = last_lines(run, 1)
        state, cause = "failed", lines[0] if code and lines else f"ended with code {code}"
    with claims.claim(run) as mine:
        if mine:
            record(run, state, cause)
    return state


def reset(run: Path) -> None:
    """Forget how the last attempt at a run ended; the caller has claimed it."""
    (run / FAILURE).unlink(missing_ok=True)
    if read(run):
        record(run, "queued", "")


def is_wanted(run: Path, created: float) -> bool:
    """Return whether a run has yet to be made for a submission of that time.

    It is not if it has ended, or was cancelled, since then.
    """
    return not is_over(read(run), created)


def is_over(beat: Mapping[str, Any], created: float) -> bool:
    """Return whether a heartbeat says that its run ended, or was cancelled, since a time."""
    over = beat.get("state") in ENDED or beat.get("cause") == CANCELLED
    return over and updated(beat) >= created


def failure(run: Path) -> str:
    """Return the error that ended a run's last attempt, or an empty string."""
    try:
        return (run / FAILURE).read_text(encoding="utf-8")
    except OSError:
        return ""
