"""What a launch tells its user: progress on standard error, results on standard output."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from framework.errors import UserError
from framework.grid.plan import Plan
from framework.launching import inline, view
from framework.launching.cost import Cost
from framework.launching.decisions import Decision, count_states
from framework.launching.job_files import job_log
from framework.launching.launch import Launched, Options
from framework.launching.states import CellStatus
from framework.launching.waiting import wait
from framework.probing.probe import Findings
from framework.runs import logs
from framework.runs.sources import listed

FAILED = 1
INTERRUPTED = 130
MOST_FAILURES = 5


def print_plan(
    grid: Path,
    planned: Plan,
    decisions: Sequence[Decision],
    findings: Findings | None,
    cost: Cost,
) -> None:
    """Print the arms, what each binds and differs in first, which cells would run, the cost."""
    console = view.console()
    title = f"{planned.name}: {planned.grid.description}".rstrip(": ")
    names = ("arm", "binds", "differs first in", "seeds to run", "seeds to leave")
    rows = view.columns_of(title, *names)
    differs = findings.differs if findings else {}
    for arm in planned.arms:
        own = [d for d in decisions if d.cell.arm == arm.name]
        mark = " *" if arm.name == planned.baseline else ""
        binds = "\n".join(f"{name} = {value}" for name, value in arm.settings.items())
        first = differs.get(arm.name, "not probed")
        rows.add_row(f"{arm.name}{mark}", binds, first, _seeds(own, True), _seeds(own, False))
    console.print(rows)
    run = sum(decision.run for decision in decisions)
    console.print(f"* baseline. {run} of {len(decisions)} cells would run in {grid}; nothing was "
                  "submitted or written.")  # fmt: skip
    say_changed(decisions)
    console.print(str(cost), highlight=False, soft_wrap=True)


def say_cost(cost: Cost) -> None:
    """Say on standard error what the runs to start cost."""
    if cost.runs:
        _say(str(cost))


def say_launched(launched: Launched) -> None:
    """Say on standard error what a launch did and what it left alone."""
    decisions = list(launched.decisions)
    started = launched.started
    counts = count_states(decisions)
    left = ", ".join(f"{count} {state}" for state, count in counts.items())
    verb = "running" if launched.executor == "inline" else "started"
    text = f"{launched.grid}: {verb} {len(started)} of {len(decisions)} runs"
    _say(f"{text} ({left})" if left else text)
    for state in ("failed", "diverged"):
        if counts.get(state):
            _say(f"{counts[state]} {state} are left as they are: --retry {state} runs them again")
    say_changed(decisions)


def say_changed(decisions: Sequence[Decision]) -> None:
    """Say on standard error which code has changed under runs that are kept or go on."""
    kept = [d for d in decisions if d.changed and not d.run and d.state != "failed"]
    resumed = [d for d in decisions if d.changed and d.resumes]
    if kept:
        _say(f"finished runs are kept though {_changed(kept)} changed since: --retry changed "
             "runs those again")  # fmt: skip
    if resumed:
        _say(f"{len(resumed)} runs go on from where they were though {_changed(resumed)} changed "
             "since they began: launched with --retry changed they begin again")  # fmt: skip


def print_where_to_look(launched: Launched) -> None:
    """Print how to watch, cancel and report what was started."""
    grid = shlex.quote(str(launched.grid))
    print(f"look:    python launch/status.py {grid} --watch")
    print(f"cancel:  python launch/cancel.py {grid}")
    print(f"report:  python launch/report.py {grid}")


def run_inline(launched: Launched, options: Options) -> None:
    """Run the cells of a launch in this process."""
    if launched.submission is not None:
        cells, created = launched.started, launched.submission.created
        grid = launched.grid
        inline.run_cells(grid, cells, created, options.runner, options.fail_fast, _say)


def finish(launched: Launched) -> int:
    """Wait for a grid, then print its ranking; return the exit code."""
    try:
        states = wait(launched.grid, launched.manifest)
    except KeyboardInterrupt:
        _say("\nnot waiting any more; the runs go on. To look or to end them:")
        print_where_to_look(launched)
        return INTERRUPTED
    show_failures(launched.grid, states)
    done = any(status.state == "done" for status in states)
    reported = not done or _report(launched.grid)
    unfinished = [s for s in states if s.state in ("failed", "stopped", "")]
    if unfinished:
        _say_of_jobs(launched.grid, unfinished)
        _say(f"{len(unfinished)} of {len(states)} runs did not finish; the same command goes on "
             "with them (failed ones with --retry failed)")  # fmt: skip
        return FAILED
    return 0 if reported else FAILED


def show_failures(grid: Path, states: Sequence[CellStatus], lines: int = 3) -> None:
    """Say why runs failed, with the last lines of their logs."""
    bad = [status for status in states if status.state in ("failed", "diverged")]
    for status in bad[:MOST_FAILURES]:
        cause = f": {status.cause}" if status.cause else ""
        _say(f"{view.label(status)} {status.state} at step {status.step}{cause}")
        if status.state == "failed":
            for line in logs.last_lines(grid / status.directory, lines, job_log(grid, status.job)):
                _say(f"    {line}")
    if len(bad) > MOST_FAILURES:
        _say(f"and {len(bad) - MOST_FAILURES} more")


def _say_of_jobs(grid: Path, unfinished: Sequence[CellStatus]) -> None:
    """Say how the logs of jobs end that left runs which they never began."""
    for job in sorted({status.job for status in unfinished if not status.state} - {""}):
        for line in logs.tail(job_log(grid, job))[-1:]:
            _say(f"job {job} ended: {line}")


def _changed(decisions: Sequence[Decision]) -> str:
    """Return what has changed under some runs."""
    return listed(sorted({name for decision in decisions for name in decision.changed}))


def _report(grid: Path) -> bool:
    """Print the ranking and write the report; return whether there was one to be made."""
    from framework import report  # it draws: seconds of imports that nobody waits for otherwise

    try:
        report.print_ranking(report.findings(grid))
        sys.stdout.flush()
        report.print_paths(report.write(grid))
        print(f"tensorboard  python -m tensorboard.main --logdir {grid}")
    except UserError as error:
        _say(f"no report: {error}")
        return False
    return True


def _seeds(decisions: Sequence[Decision], run: bool) -> str:
    """Return '0, 1, 2' of the cells that run, '0 done, 1 failed' of those that are left.

    Where values are tuned each has its line: 'lr=0.001: 0, 1, 2'.
    """
    lines: dict[str, list[str]] = {}
    for decision in decisions:
        if decision.run == run:
            state = f" {decision.state}" if decision.state and (not run or decision.step) else ""
            tried = view.tried(decision.cell.tuned)
            lines.setdefault(tried, []).append(f"{decision.cell.seed}{state}")
    return "\n".join(
        f"{tried}: {', '.join(seeds)}" if tried else ", ".join(seeds)
        for tried, seeds in lines.items()
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
