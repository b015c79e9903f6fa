"""Checks before a launch, with a line of progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from framework.grid.plan import Plan
from framework.launching import cost
from framework.launching.clean import CleanProcess
from framework.launching.cost import Cost
from framework.launching.decisions import Decision
from framework.probing import probe as probing
from framework.probing.probe import Findings, Sizes

NO_PROBE = "--no-probe: nobody looked whether the arms differ in what they do"
GONE = "\r\033[K"  # what takes a line of a terminal back


def check(
    planned: Plan,
    grid: Path,
    decisions: Sequence[Decision],
    *,
    clean: CleanProcess,
    probed: bool,
    here: bool,
) -> tuple[Findings | None, Cost]:
    """Build every arm at full size and, if asked, probe it; return what was found and the cost.

    Where no cell is to run nothing is probed.

    Args:
        planned: The grid.
        grid: Its folder.
        decisions: What happens to each cell.
        clean: Where runs are read, built and probed.
        probed: Whether to probe.
        here: Whether the runs are to be made on this machine.

    Raises:
        UserError: an arm is refused, or cannot fit on its GPU; the message says why.
    """
    if planned.doubt:
        _say(planned.doubt)
    with _meanwhile(f"checking {len(planned.cells)} runs"):
        sizes: dict[str, Sizes] = probing.check(planned, each=clean.each, here=here)
        clean.read(planned)
    findings = None
    if not any(decision.run for decision in decisions):
        pass
    elif not probed:
        _say(NO_PROBE)
    elif len(planned.arms) > 1:  # one has nothing to be compared with
        findings = probing.probe(planned, _progress(len(planned.arms)), each=clean.each)
        _say(
            f"probed {findings.runs} arms in {findings.seconds:.0f} s: each does something of its "
            "own"
        )
    found = cost.estimate(grid, decisions, sizes, findings)
    for warning in found.warnings():
        _say(warning)
    return findings, found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _meanwhile(line: str) -> Iterator[None]:
    """Show a line on a terminal while the block runs."""
    _show(line)
    try:
        yield
    finally:
        _show(GONE)


def _progress(total: int) -> Callable[[int], None]:
    """Return what rewrites one line on a terminal."""

    def show(done: int) -> None:
        _show(f"probing: {done} of {total} arms" + ("\r" if done < total else GONE))

    return show


def _show(text: str) -> None:
    """Write something on a terminal that does not stay; be silent elsewhere."""
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)
