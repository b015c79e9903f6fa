"""Checks before a launch, with a line of progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable

from framework.grid.plan import Plan
from framework.probing import probe as probing
from framework.probing.probe import Findings

NO_PROBE = "--no-probe: nobody looked whether the arms differ in what they do"


def check(planned: Plan, *, probed: bool) -> Findings | None:
    """Build every arm at full size and, if asked, probe it; return what the probe found.

    Raises:
        UserError: an arm is refused; the message says why.
    """
    probing.check(planned)
    if not probed:
        print(NO_PROBE, file=sys.stderr, flush=True)
        return None
    if len(planned.arms) == 1:
        return None  # nothing to compare it with
    findings = probing.probe(planned, _progress(len(planned.arms)))
    print(
        f"probed {findings.runs} arms in {findings.seconds:.0f} s "
        f"({findings.cpu_seconds:.0f} s of CPU time): each does something of its own",
        file=sys.stderr,
        flush=True,
    )
    return findings


def _progress(total: int) -> Callable[[int], None]:
    """Return what rewrites one line on a terminal, and is silent elsewhere."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            end = "\r" if done < total else "\r\033[K"
            print(f"probing: {done} of {total} arms", end=end, file=sys.stderr, flush=True)

    return show
