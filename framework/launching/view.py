"""What a user sees of a grid: a table in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from framework.grid.manifest import Manifest
from framework.launching.states import LIVE, STATES, CellStatus

WIDE = 200
MOST_CELLS = 60  # beyond that the table counts instead of listing
STYLES = {
    "queued": "dim",
    "running": "cyan",
    "done": "green",
    "failed": "bold red",
    "diverged": "magenta",
    "stopped": "yellow",
    "": "dim",
}
NOT_STARTED = "not started"


def console(*, stderr: bool = False) -> Console:
    """Return a console that does not fold lines for readers that have no width."""
    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=WIDE)


def columns_of(title: str, *names: str) -> Table:
    """Return an empty table with a first column that is never folded."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(names):
        made.add_column(name, no_wrap=index == 0)
    return made


def table(manifest: Manifest, states: Sequence[CellStatus]) -> RenderableType:
    """Return arms x seeds with the state of each, and a line for the whole grid."""
    detailed = len(states) <= MOST_CELLS
    body = _by_cell(manifest, states) if detailed else _by_arm(states)
    return Group(body, Text(summary(states), style="bold"))


def summary(states: Sequence[CellStatus]) -> str:
    """Return '4 of 9 done, 2 running, 3 queued; 31.2 steps/s, 5 min left'."""
    counts = Counter(status.state for status in states)
    parts = [f"{counts['done']} of {len(states)} done"]
    parts += [f"{counts[name]} {name}" for name in STATES if name != "done" and counts[name]]
    if counts[""]:
        parts.append(f"{counts['']} {NOT_STARTED}")
    rate = sum(status.steps_per_second for status in states if status.state == "running")
    left = seconds_left(states)
    pace = f"; {rate:.1f} steps/s" if rate else ""
    return ", ".join(parts) + pace + (f", {duration(left)} left" if left is not None else "")


def seconds_left(states: Sequence[CellStatus]) -> float | None:
    """Return the time until all that runs and waits is done, at the present rate of all."""
    steps = max((status.steps for status in states), default=0)
    rate = sum(status.steps_per_second for status in states if status.state == "running")
    if not steps or not rate:
        return None
    left = sum((s.steps or steps) - s.step for s in states if s.state in LIVE)
    slowest = max((s.seconds_left or 0.0 for s in states), default=0.0)
    return max(left / rate, slowest)


def duration(seconds: float) -> str:
    """Return a time span in a few words: '40 s', '12 min', '3 h 05 min', '2 d 4 h'."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def last_metric(manifest: Manifest, status: CellStatus) -> str:
    """Return the grid's metric as the run last measured it, at the grid's NFE."""
    wanted = [f"{manifest.metric}/nfe={manifest.metric_nfe}", manifest.metric]
    ours = [name for name in status.metrics if name.startswith(f"{manifest.metric}/")]
    name = next((name for name in [*wanted, *ours] if name in status.metrics), None)
    return "" if name is None else f"{manifest.metric} {status.metrics[name]:.4g}"


def describe(manifest: Manifest, status: CellStatus) -> str:
    """Return the state of a cell in a few words."""
    metric = last_metric(manifest, status)
    match status.state:
        case "running":
            left = status.seconds_left
            parts = [f"{status.step}/{status.steps}" if status.steps else "starting"]
            if status.steps_per_second:
                parts.append(f"{status.steps_per_second:.1f}/s")
            parts += [duration(left)] if left is not None else []
            return "  ".join([*parts, metric]).rstrip()
        case "done":
            return f"done  {metric}".rstrip()
        case "queued":
            return f"queued  {status.reason}".rstrip()
        case "":
            return NOT_STARTED
    return f"{status.state} at {status.step}"


def label(status: CellStatus) -> str:
    """Return the name of a cell: arm, seed and what it tries."""
    return f"{status.arm} seed={status.seed} {tried(status.tuned)}".rstrip()


def tried(tuned: Mapping[str, str]) -> str:
    """Return what a cell tries for its arm: 'lr=0.001 weight_decay=0.1'."""
    return " ".join(f"{name.rpartition('.')[2]}={value}" for name, value in tuned.items())


def _by_cell(manifest: Manifest, states: Sequence[CellStatus]) -> Table:
    seeds = list(dict.fromkeys(status.seed for status in states))
    columns = columns_of(manifest.name, "arm", *(f"seed {seed}" for seed in seeds))
    rows: dict[tuple[str, str], dict[int, CellStatus]] = {}
    for status in states:
        name, _, tuned = label(status).partition(f" seed={status.seed}")
        rows.setdefault((name, tuned), {})[status.seed] = status
    for (name, tuned), cells in rows.items():
        mark = " *" if name == manifest.baseline else ""
        texts = [
            Text(describe(manifest, cells[seed]), STYLES[cells[seed].state])
            if seed in cells
            else Text("")
            for seed in seeds
        ]
        columns.add_row(f"{name}{mark}{tuned}", *texts)
    return columns


def _by_arm(states: Sequence[CellStatus]) -> Table:
    columns = columns_of("", "arm", *STATES, NOT_STARTED)
    arms: dict[str, Counter[str]] = {}
    for status in states:
        arms.setdefault(status.arm, Counter())[status.state or NOT_STARTED] += 1
    for arm, counts in arms.items():
        columns.add_row(arm, *(str(counts[name] or "") for name in (*STATES, NOT_STARTED)))
    return columns


class Lines:
    """Plain lines for what is no terminal: each change of state, and a summary now and then."""

    SUMMARY_SECONDS = 30.0

    def __init__(self, to: Console, manifest: Manifest) -> None:
        self._console = to
        self._manifest = manifest
        self._seen: dict[str, str] = {}
        self._said = 0.0

    def show(self, states: Sequence[CellStatus]) -> None:
        """Print what is new."""
        for status in states:
            before = self._seen.get(status.directory)
            if before != status.state and status.state not in ("", "queued"):
                first_seen_over = before is None and status.state not in LIVE
                if not first_seen_over:
                    self._print(f"{label(status)}: {self._words(status)}")
            self._seen[status.directory] = status.state
        if time.monotonic() - self._said >= self.SUMMARY_SECONDS:
            self._said = time.monotonic()
            self._print(summary(states))

    def _words(self, status: CellStatus) -> str:
        if status.state == "running":
            return "running"
        words = describe(self._manifest, status)
        return f"{words}: {status.cause}" if status.cause else words

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
