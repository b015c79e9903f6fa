"""Waiting for a grid, with a live view on standard error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.live import Live

from framework.grid.manifest import CellRecord, Manifest
from framework.launching import view
from framework.launching.states import LIVE, CellStatus, read_states

LOCAL_SECONDS = 0.5
SLURM_SECONDS = 5.0  # each look asks the scheduler


def wait(
    grid: Path, manifest: Manifest, cells: Sequence[CellRecord] | None = None
) -> list[CellStatus]:
    """Show the cells of a grid until none of them runs or waits; return where they stand.

    What is launched meanwhile is waited for as well.
    """
    console = view.console(stderr=True)
    on_slurm = any(submission.executor == "slurm" for submission in manifest.submissions)
    pause = SLURM_SECONDS if on_slurm else LOCAL_SECONDS
    chosen = manifest.cells if cells is None else cells

    def look() -> list[CellStatus]:
        return read_states(grid, Manifest.read(grid) or manifest, chosen)

    states = look()
    if not console.is_terminal:
        lines = view.Lines(console, manifest)
        lines.show(states)
        while _is_under_way(states):
            time.sleep(pause)
            states = look()
            lines.show(states)
        return states
    with Live(view.table(manifest, states), console=console, refresh_per_second=4) as live:
        while _is_under_way(states):
            time.sleep(pause)
            states = look()
            live.update(view.table(manifest, states))
    return states


def _is_under_way(states: Sequence[CellStatus]) -> bool:
    return any(status.state in LIVE for status in states)
