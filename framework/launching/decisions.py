"""What a launch does with each cell: run it, or leave it, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from framework.errors import UserError
from framework.grid.manifest import FILE, Manifest
from framework.grid.plan import Cell, Plan
from framework.launching.states import CellStatus, read_states

SOURCES = "sources.json"
RETRIES = ("failed", "diverged", "changed", "all")


@dataclass(frozen=True)
class Decision:
    """What happens to a cell.

    `state` is where it stands ("" if it never started); `fresh` says that what an earlier run
    left is put away first; `changed` names components whose source has changed since.
    """

    cell: Cell
    state: str
    run: bool
    fresh: bool = False
    step: int = 0
    changed: tuple[str, ...] = ()


def decide(grid: Path, plan: Plan, retry: str | None) -> tuple[Manifest | None, list[Decision]]:
    """Return the manifest of a grid's folder, if there is one, and what to do with each cell.

    Raises:
        UserError: the folder belongs to something else.
    """
    old = read_own(grid, plan.name)
    manifest = plan.manifest("").continuing(old)
    states = read_states(grid, manifest)
    hashes: dict[str, Mapping[str, str]] = {}
    decisions = []
    for cell, status in zip(plan.cells, states, strict=True):
        if cell.arm not in hashes:
            hashes[cell.arm] = cell.resolved.sources()
        decisions.append(_decide(grid, cell, status, retry, hashes[cell.arm]))
    return old, decisions


def read_own(grid: Path, name: str) -> Manifest | None:
    """Return the manifest of a folder that is this grid's, or None where it is new or empty.

    Raises:
        UserError: it is another grid's, or holds something else.
    """
    if grid.exists() and not grid.is_dir():
        raise UserError(f"{grid} is a file: choose another --output")
    old = Manifest.read(grid)
    if old is not None and old.name != name:
        raise UserError(
            f"{grid} belongs to the grid '{old.name}', and this one is '{name}': choose another "
            "--output, or another grid.name"
        )
    if old is None and grid.is_dir():
        strange = [entry.name for entry in grid.iterdir() if not entry.name.startswith(".")]
        if strange:
            raise UserError(
                f"{grid} holds {strange[0]!r} and no {FILE}, so it is no grid's folder: choose "
                "another --output"
            )
    return old


def _decide(
    grid: Path, cell: Cell, status: CellStatus, retry: str | None, sources: Mapping[str, str]
) -> Decision:
    state = status.state
    if state == "done" and status.steps < cell.steps:
        return Decision(cell, "stopped", run=True, step=status.step)
    if state == "done":
        changed = changed_sources(grid / cell.directory, sources)
        again = retry == "all" or (retry == "changed" and bool(changed))
        return Decision(cell, state, again, fresh=again, changed=changed)
    if state == "diverged":
        again = retry in ("diverged", "all")
        return Decision(cell, state, again, fresh=again, step=status.step)
    if state == "failed":
        return Decision(cell, state, run=retry in ("failed", "all"), step=status.step)
    return Decision(cell, state, run=state in ("", "stopped"), step=status.step)


def changed_sources(run: Path, sources: Mapping[str, str]) -> tuple[str, ...]:
    """Return the components whose source is not what it was when a run started."""
    try:
        stored = json.loads((run / SOURCES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(name for name, digest in sources.items() if stored.get(name, digest) != digest)


def count_states(decisions: list[Decision]) -> dict[str, int]:
    """Return how many cells are left alone, by state."""
    counts: dict[str, int] = {}
    for decision in decisions:
        if not decision.run:
            counts[decision.state] = counts.get(decision.state, 0) + 1
    return counts
