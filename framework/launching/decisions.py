"""What a launch does with each cell: run it, or leave it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from framework.errors import UserError
from framework.grid.manifest import FILE, Manifest
from framework.grid.plan import Cell, Plan
from framework.launching.states import CellStatus, read_states
from framework.runs.outcomes import ENDED
from framework.runs.sources import changed_sources

RETRIES = ("failed", "diverged", "changed", "all")


@dataclass(frozen=True)
class Decision:
    """What happens to a cell.

    `state` is where it stands ("" if it never started); `fresh` says that what an earlier run
    left is put away first; `sources` are the digests of its code, and `changed` names what of it
    is not as it was when the steps that there are began.
    """

    cell: Cell
    state: str
    run: bool
    fresh: bool = False
    step: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()

    @property
    def resumes(self) -> bool:
        """Whether it goes on with steps that an earlier attempt made."""
        return self.run and not self.fresh and self.step > 0


def decide(grid: Path, plan: Plan, retry: str | None) -> tuple[Manifest | None, list[Decision]]:
    """Return the manifest of a grid's folder, if there is one, and what to do with each cell.

    Raises:
        UserError: the folder belongs to something else.
    """
    old = read_own(grid, plan.name)
    manifest = plan.manifest("").continuing(old)
    states = read_states(grid, manifest)
    sources: dict[tuple[str, ...], Mapping[str, str]] = {}
    decisions = []
    for cell, status in zip(plan.cells, states, strict=True):
        used = tuple(component.selector for component in cell.resolved.components)
        if used not in sources:
            sources[used] = cell.resolved.sources()
        decisions.append(_decide(grid, cell, status, retry, sources[used]))
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
    state, step = status.state, status.step
    over = state in ENDED or state == "stopped"
    changed = changed_sources(grid / cell.directory, sources) if over and step else ()
    anew = retry == "changed" and bool(changed)
    again = anew or retry == "all" or retry == state
    fresh = anew or (again and state in ("done", "diverged"))
    run = again if state in ENDED else state in ("", "stopped")
    return Decision(cell, state, run, fresh, step, sources, changed)


def count_states(decisions: list[Decision]) -> dict[str, int]:
    """Return how many cells are left alone, by state."""
    counts: dict[str, int] = {}
    for decision in decisions:
        if not decision.run:
            counts[decision.state] = counts.get(decision.state, 0) + 1
    return counts
