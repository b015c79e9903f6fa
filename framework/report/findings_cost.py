"""What a grid's runs cost, in words."""

from framework.grid.manifest import Manifest
from framework.runs import outcomes

from .grid_results import GridResults
from .numbers import duration

NOT_RUN = "not run"


def cost(grid: GridResults) -> str:
    """Say how many runs ended, how long they trained, and how long that took."""
    ended = grid.runs[grid.runs["state"].isin(outcomes.ENDED)]
    if ended.empty:
        return NOT_RUN
    training, passed = float(ended["seconds"].sum()), _passed(grid)
    said = f"{len(ended)} of {len(grid.runs)} runs, {duration(training)} of training in all"
    if not passed:
        return said
    at_once = round(training / passed)
    together = f", {at_once} runs at a time" if at_once > 1 else ""
    return f"{said}, {duration(passed)} from launch to end{together}"


def _passed(grid: GridResults) -> float:
    """Return the seconds that launches took, each until the last of its runs ended.

    A run that several launches started belongs to the last of them.
    """
    manifest, passed, later = Manifest.read(grid.directory), 0.0, set[str]()
    for launch in reversed(manifest.submissions if manifest else []):
        cells = {cell for job in launch.jobs for cell in job.cells} - later
        beats = [outcomes.read(grid.directory / cell) for cell in cells]
        ends = [outcomes.updated(beat) for beat in beats]
        passed += max([end - launch.created for end in ends if end > launch.created], default=0.0)
        later |= cells
    return passed
