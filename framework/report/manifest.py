"""Reading `grid.json` and the heartbeats beside the runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from framework.errors import UserError
from framework.launching.liveness import is_alive

from .grid_results import RUN_COLUMNS, Arm

MANIFEST = "grid.json"


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the grid's manifest; None where there is none.

    Raises:
        UserError: the file is no JSON object.
    """
    path = directory / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); launch the grid again") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("cells"), list):
        raise UserError(f"{path}: not the manifest of a grid (no list of cells)")
    return manifest


def manifest_arms(manifest: Mapping[str, Any]) -> tuple[Arm, ...]:
    """Return the arms with their settings and, where some are tuned, their variants."""
    variants: dict[str, dict[str, dict[str, str]]] = {}
    for cell in manifest["cells"]:
        tuned = _texts(cell.get("tuned") or {})
        if tuned:
            variants.setdefault(str(cell["arm"]), {})[variant_name(tuned)] = tuned
    return tuple(
        Arm(str(arm["name"]), _texts(arm.get("settings") or {}), variants.get(arm["name"], {}))
        for arm in manifest.get("arms", [])
    )


def variant_name(tuned: Mapping[str, str]) -> str:
    """Name a tuned variant by its settings, without their modules."""
    return ", ".join(f"{binding.rpartition('.')[2]}={text}" for binding, text in tuned.items())


def manifest_runs(
    directory: Path, manifest: Mapping[str, Any], commits: Mapping[str, str]
) -> pd.DataFrame:
    """Return one row a cell of the grid, with what its heartbeat says.

    Args:
        directory: the grid's folder.
        manifest: its manifest.
        commits: folder of every run that has results, relative to the grid's -> its code.
    """
    rows: list[tuple[Any, ...]] = []
    for cell in manifest["cells"]:
        folder = _folder(directory, cell)
        arm, variant = str(cell["arm"]), variant_name(_texts(cell.get("tuned") or {}))
        state = _state(directory / folder, folder in commits)
        identity, commit = str(cell.get("identity", "")), commits.get(folder, "")
        rows.append((arm, variant, int(cell["seed"]), identity, folder, *state, commit))
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


def _folder(directory: Path, cell: Mapping[str, Any]) -> str:
    """Where a cell's run lies, whether the manifest counts from the grid or from elsewhere."""
    written = Path(str(cell["directory"]))
    if written.is_absolute() or not (directory / written).exists():
        below = Path(str(cell["arm"])) / written.name
        if written.is_absolute() and written.is_relative_to(directory):
            return written.relative_to(directory).as_posix()
        if (directory / below).exists() or directory.name in written.parts:
            return below.as_posix()
    return written.as_posix()


def _state(run: Path, has_results: bool) -> tuple[Any, ...]:
    """Columns of RUN_COLUMNS from `state` on."""
    beat = _heartbeat(run)
    step, seconds = beat.get("step"), beat.get("seconds")
    pace = beat.get("steps_per_second")
    each = beat.get("step_seconds") or (1 / pace if pace else np.nan)
    state = str(beat.get("state") or ("stopped" if has_results else "queued"))
    cause = str(beat.get("cause") or "")
    if state == "running" and not is_alive(run, beat):
        state, cause = "stopped", "its process is gone"
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


def _heartbeat(run: Path) -> dict[str, Any]:
    """What the run last said; nothing where it said nothing readable."""
    try:
        beat = json.loads((run / "heartbeat.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return beat if isinstance(beat, dict) else {}


def _texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as text; what is not text already was JSON."""
    return {
        str(binding): value if isinstance(value, str) else json.dumps(value)
        for binding, value in settings.items()
    }
