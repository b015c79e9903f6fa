"""What `grid.json` and the heartbeats beside the runs say, as the report wants it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from framework.grid.manifest import Manifest
from framework.runs import claims, outcomes
from framework.runs.liveness import is_alive

from .grid_results import RUN_COLUMNS, Arm


def manifest_arms(manifest: Manifest) -> tuple[Arm, ...]:
    """Return the arms with their settings and, where some are tuned, their variants."""
    variants: dict[str, dict[str, dict[str, str]]] = {}
    for cell in manifest.cells:
        if cell.tuned:
            variants.setdefault(cell.arm, {})[variant_name(cell.tuned)] = dict(cell.tuned)
    return tuple(
        Arm(str(arm["name"]), arm["settings"], variants.get(arm["name"], {}))
        for arm in manifest.arms
    )


def variant_name(tuned: Mapping[str, str]) -> str:
    """Name a tuned variant by its settings, without their modules."""
    return ", ".join(f"{binding.rpartition('.')[2]}={text}" for binding, text in tuned.items())


def manifest_runs(directory: Path, manifest: Manifest, commits: Mapping[str, str]) -> pd.DataFrame:
    """Return one row a cell of the grid, with what its heartbeat says.

    Args:
        directory: the grid's folder.
        manifest: its manifest.
        commits: folder of every run that has results, relative to the grid's -> its code.
    """
    rows: list[tuple[Any, ...]] = []
    for cell in manifest.cells:
        folder = cell.directory
        state, commit = _state(directory / folder, folder in commits), commits.get(folder, "")
        variant = variant_name(cell.tuned)
        rows.append((cell.arm, variant, cell.seed, cell.identity, folder, *state, commit))
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def found_runs(directory: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of a folder without a manifest, from their results alone."""
    each = frame.drop_duplicates("run").drop_duplicates(["arm", "seed"], keep="last")
    rows = [
        (str(arm), "", int(seed), str(identity), folder, *_state(directory / folder, True), commit)
        for arm, seed, identity, folder, commit in zip(
            each["arm"], each["seed"], each["identity"],
            (relative(directory, run) for run in each["run"]), each["commit"], strict=True,
        )
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def relative(directory: Path, run: object) -> str:
    """Return a run's folder relative to the grid's."""
    path = Path(str(run))
    inside = path.is_relative_to(directory)
    if not inside and path.resolve().is_relative_to(directory.resolve()):
        return path.resolve().relative_to(directory.resolve()).as_posix()
    return path.relative_to(directory).as_posix() if inside else path.as_posix()


def _state(run: Path, has_results: bool) -> tuple[Any, ...]:
    """Columns of RUN_COLUMNS from `state` on.

    They are what `framework.launching.states` makes of a heartbeat and a lock. No scheduler is
    asked: what waits in its queue is 'queued', and one that is silent on another host 'stopped'.
    """
    beat = outcomes.read(run)
    step, seconds = beat.get("step"), beat.get("seconds")
    pace = beat.get("steps_per_second")
    each = beat.get("step_seconds") or (1 / pace if pace else np.nan)
    state = str(beat.get("state") or ("stopped" if has_results else "queued"))
    cause = str(beat.get("cause") or "")
    if state not in outcomes.ENDED and claims.is_held(run / claims.LOCK):
        state, cause = "running", ""
    elif state == "running" and not is_alive(run, beat):
        state, cause = "stopped", f"its process is gone, at step {step or 0}"
    return (
        state,
        step if step is not None else 0,
        beat.get("steps") or 0,
        float(seconds) if seconds is not None else np.nan,
        float(each),
        float(beat.get("flops_per_step") or np.nan),
        cause,
        float(beat["diverged_step"]) if beat.get("diverged_step") is not None else np.nan,
    )
