"""Show where the runs of a grid stand.

python launch/status.py runs/quickstart
python launch/status.py runs/quickstart --watch
python launch/status.py runs/quickstart --arm 'time_sampler=gap' --state failed running
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from framework import command
from framework.errors import UserError, nearest
from framework.grid.manifest import CellRecord, Manifest
from framework.launching import view
from framework.launching.job_files import job_log
from framework.launching.states import STATES, CellStatus, read_states
from framework.launching.waiting import wait
from framework.runs import logs

FAILURE_LINES = 4
MOST_FAILURES = 10


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = command.parser(__doc__ or "")
    add = parser.add_argument
    add("directory", type=Path, metavar="DIR", help="the folder of a grid, as runs/NAME")
    add("--watch", action="store_true", help="stay until nothing runs or waits")
    add("--arm", nargs="+", default=[], metavar="ARM", help="only these arms")
    add("--state", nargs="+", default=[], choices=STATES, help="only runs in these states")
    add("--former", action="store_true", help="also runs of arms that the gin file had before")
    return parser.parse_args()


def chosen_cells(manifest: Manifest, arms: Sequence[str], former: bool) -> list[CellRecord]:
    """Return the cells that the options name.

    Raises:
        UserError: an arm does not exist.
    """
    cells = [*manifest.cells, *(manifest.former if former else [])]
    known = {cell.arm for cell in cells}
    for arm in arms:
        if arm not in known:
            raise UserError(f"no arm of '{manifest.name}' is called '{arm}'{nearest(arm, known)}")
    return [cell for cell in cells if not arms or cell.arm in arms]


def show(directory: Path, manifest: Manifest, states: Sequence[CellStatus]) -> None:
    """Print the table, then why runs failed or wait."""
    console = view.console()
    console.print(view.table(manifest, states))
    former = len(manifest.former)
    if former:
        console.print(f"{former} runs of earlier versions of the gin file: --former", style="dim")
    told = [s for s in states if s.state in ("failed", "diverged", "stopped")]
    for status in told[:MOST_FAILURES]:
        cause = f": {status.cause}" if status.cause else ""
        job = f" (job {status.job})" if status.job and status.job not in status.cause else ""
        line = f"{view.label(status)} {status.state} at step {status.step}{cause}{job}"
        console.print(Text(line, view.STYLES[status.state]), soft_wrap=True)
        if status.state == "failed":
            run, log = directory / status.directory, job_log(directory, status.job)
            for text in logs.last_lines(run, FAILURE_LINES, log):
                console.print(Text(f"    {text}"), soft_wrap=True)
    if len(told) > MOST_FAILURES:
        console.print(f"and {len(told) - MOST_FAILURES} more; --arm and --state choose among them")


def waiting_reasons(states: Sequence[CellStatus]) -> Table | None:
    """Return why the scheduler lets jobs wait, with how many each; None if it does not."""
    reasons: dict[str, list[str]] = {}
    for status in states:
        if status.reason:
            reasons.setdefault(status.reason, []).append(status.job)
    if not reasons:
        return None
    rows = view.columns_of("", "waits for", "jobs", "first")
    for reason, jobs in reasons.items():
        rows.add_row(reason, str(len(jobs)), jobs[0])
    return rows


def program() -> int:
    """Print or watch the states of a grid."""
    given = arguments()
    manifest = Manifest.of(given.directory)
    cells = chosen_cells(manifest, given.arm, given.former)
    if given.watch:
        wait(given.directory, manifest, cells)
    states = read_states(given.directory, manifest, cells)
    states = [s for s in states if not given.state or s.state in given.state]
    show(given.directory, manifest, states)
    reasons = waiting_reasons(states)
    if reasons is not None:
        view.console().print(reasons)
    return 0


if __name__ == "__main__":
    command.main(program)
