"""What SLURM says of jobs: one squeue, and one sacct at most for those that squeue has forgotten.

slurmctld remembers an ended job for some minutes (MinJobAge) and never who cancelled it; where a
cluster keeps accounts, sacct knows both. Without them, what squeue says is all there is.
"""

from __future__ import annotations

import pwd
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

ASK_SECONDS = 60.0
WAITING = frozenset(
    ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT",
     "SUSPENDED", "STOPPED")
)  # fmt: skip
RUNNING = frozenset(["RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING"])
CANCELLED = "CANCELLED"
SILENT = "slurmctld does not answer"


@dataclass(frozen=True)
class JobState:
    """A job as SLURM sees it.

    `live` is queued, running, or "" for one that has ended or that nobody knows; `reason` is why it
    waits; `ending` is SLURM's word for how it ended, such as TIMEOUT, and `by` who cancelled it.
    """

    live: str = ""
    reason: str = ""
    ending: str = ""
    by: str = ""


class Scheduler:
    """Answers about some jobs; SLURM is asked when the first answer needs it, and once."""

    def __init__(self, ids: Iterable[str]) -> None:
        """Take the ids of jobs or of their arrays, '12_3' or '12'."""
        self._ids = ",".join(sorted({job.partition("_")[0] for job in ids}))

    def job(self, job: str) -> JobState:
        """Return the state of a job; without SLURM, that of one that nobody knows."""
        if not self._ids:
            return JobState()
        queue = self._queue
        if queue is None:
            return self._accounts.get(job, JobState("queued", SILENT))
        found = queue.get(job, JobState())
        if found.live or found.ending not in ("", CANCELLED):
            return found
        return replace(self._accounts.get(job, found), live="")  # squeue would know a live one

    @cached_property
    def _queue(self) -> dict[str, JobState] | None:
        """What squeue says; None where the controller cannot be asked."""
        asked = said("squeue", "--noheader", "--array", "--states=all", f"--jobs={self._ids}",
                      "--format=%F|%K|%T|%r")  # fmt: skip
        if asked is None:
            return {}
        if asked.returncode and "Invalid job id" not in asked.stderr:
            return None
        return dict(_of_queue(asked.stdout))

    @cached_property
    def _accounts(self) -> dict[str, JobState]:
        """What sacct says; nothing where the cluster keeps no accounts."""
        asked = said("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={self._ids}",
                      "--format=JobID,State")  # fmt: skip
        if asked is None or asked.returncode:
            return {}
        return dict(_of_accounts(asked.stdout))


def said(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Return what a program of SLURM's answers, or None where it is not installed.

    One that does not answer in time has failed.
    """
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer for {ASK_SECONDS:.0f} s")


def _of_queue(lines: str) -> Iterator[tuple[str, JobState]]:
    """Yield the jobs in lines 'ARRAY|INDEX|STATE|REASON'."""
    for line in lines.splitlines():
        array, index, state, reason = line.split("|", 3)
        waits = state in WAITING
        yield (
            array if index == "N/A" else f"{array}_{index}",
            _state(state, reason if waits else ""),
        )


def _of_accounts(lines: str) -> Iterator[tuple[str, JobState]]:
    """Yield the jobs in lines 'JOB|STATE', where STATE may be 'CANCELLED by UID'."""
    for line in lines.splitlines():
        job, _, state = line.partition("|")
        word, _, who = state.partition(" by ")
        yield job, replace(_state(word), by=_user(who))


def _state(word: str, reason: str = "") -> JobState:
    if word in WAITING:
        return JobState("queued", reason)
    return JobState("running") if word in RUNNING else JobState(ending=word)


def _user(number: str) -> str:
    """Return the name of a user, or the number where this host does not know it."""
    with suppress(KeyError, ValueError):
        return pwd.getpwuid(int(number)).pw_name
    return number
