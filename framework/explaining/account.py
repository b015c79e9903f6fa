"""What a run's files say of how it stands: heartbeat, log, results and flight recorder."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.errors import UserError
from framework.grid.manifest import FILE as GRID
from framework.grid.manifest import Manifest
from framework.launching import view
from framework.launching.job_files import job_log
from framework.launching.states import read_states
from framework.results import DamagedRunError, NewerSchemaError, RunResults, read_run
from framework.results.records import CHOSEN
from framework.runs import CONFIG, liveness, logs, outcomes

ORIGIN = "first_not_finite"
LOG_LINES = 8
HISTORY = 16  # steps over which growth before a divergence is told

FlightStep = dict[str, float]


@dataclass(frozen=True)
class Account:
    """How a run stands and what is known of how it came there.

    Attributes:
        directory: the run's folder.
        beat: its heartbeat; empty where there is none.
        state, cause: as it says, or "stopped" where its process is gone; in a grid as that knows;
            "not started" where nothing says anything.
        flight: the flight recorder, one mapping of numbers a step, oldest first.
        origin: where a value first was not finite, in words; "" where nothing diverged.
        settings: the resolved settings, by their full names.
        scores: metric -> mean over blocks at the last evaluation.
        log: the last lines that the run wrote.
        damage: why its results cannot be read; "" where they can.
    """

    directory: Path
    beat: Mapping[str, Any]
    state: str
    cause: str
    flight: list[FlightStep]
    origin: str
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    log: list[str]
    damage: str

    @property
    def broken(self) -> list[str]:
        """What was not finite at the last recorded step, in the order of the step's computation.

        A part of the loss that no sample has is NaN at any time and does not count.
        """
        if not self.flight:
            return []
        last = self.flight[-1]
        before = self.flight[:-1]
        usual = {n for n in last if n.startswith("loss/") and any(math.isnan(b[n]) for b in before)}
        names = sorted((n for n in last if not math.isfinite(last[n])), key=_order)
        return [name for name in names if name not in usual]

    @property
    def skipped(self) -> int:
        """Recorded steps of finite loss whose gradient was not: fp16's scaler skips these."""
        if self.settings.get("train.precision") != "fp16":
            return 0
        finite = [s for s in self.flight if math.isfinite(s.get("loss/total", math.nan))]
        return sum(not math.isfinite(s.get("gradient_norm", 0.0)) for s in finite)

    def growth(self) -> dict[str, float]:
        """By what factor each value grew from its usual size to the last finite step."""
        finite = [s for s in self.flight if math.isfinite(s.get("loss/total", math.nan))]
        recent = finite[-HISTORY:]
        if len(recent) < 4:
            return {}
        names = [n for n in recent[-1] if n.startswith(("loss/", "gradient_norm", "jvp_norm"))]
        found = {}
        for name in names:
            values = sorted(s[name] for s in recent[:-1] if math.isfinite(s[name]))
            usual = values[len(values) // 2] if values else 0.0
            if usual > 0 and math.isfinite(recent[-1][name]):
                found[name] = recent[-1][name] / usual
        return found

    def command(self) -> str:
        """Return the command that goes on with the run."""
        config = shlex.quote(str(self.directory / CONFIG))
        return f"python launch/train.py --gin {config} --output {shlex.quote(str(self.directory))}"


def account(directory: Path) -> Account:
    """Gather what there is.

    Raises:
        UserError: the folder is no run.
    """
    beat = outcomes.read(directory)
    if not beat and not (directory / CONFIG).is_file():
        if (directory / GRID).is_file():
            raise UserError(f"{directory} is a grid: give one of its runs, ARM/seed=K-IDENTITY")
        raise UserError(f"{directory}: not the folder of a run (no {CONFIG} in it)")
    state, cause, log = _ending(directory, beat)
    found, damage = _results(directory)
    flight, origin = _flight(found)
    return Account(
        directory=directory,
        beat=beat,
        state=state,
        cause=cause,
        flight=flight,
        origin=origin or str(beat.get("origin") or ""),
        settings={} if found is None else found.config.resolved,
        scores={} if found is None else _scores(found),
        log=logs.last_lines(directory, LOG_LINES, log),
        damage=damage,
    )


def _ending(directory: Path, beat: Mapping[str, Any]) -> tuple[str, str, Path | None]:
    """Return a run's state and cause, as its grid knows them if it is of one, and its job's log."""
    grid = directory.absolute().parent.parent
    manifest = Manifest.read(grid)
    cells = [] if manifest is None else manifest.select(())
    here = [cell for cell in cells if grid / cell.directory == directory.absolute()]
    if manifest is not None and here:
        (status,) = read_states(grid, manifest, here)
        return status.state or view.NOT_STARTED, status.cause, job_log(grid, status.job)
    state, cause = str(beat.get("state") or view.NOT_STARTED), str(beat.get("cause") or "")
    if state == "running" and not liveness.is_alive(directory, beat):
        state, cause = "stopped", f"its process is gone, at step {beat.get('step', 0)}"
    return state, cause, None


def _results(directory: Path) -> tuple[RunResults | None, str]:
    """Read the results; say why they cannot be read, but for a run that has none yet."""
    try:
        return read_run(directory), ""
    except (DamagedRunError, NewerSchemaError) as error:
        known = any((directory / f"results.{end}").exists() for end in ("h5", "journal"))
        return None, str(error) if known else ""


def _flight(found: RunResults | None) -> tuple[list[FlightStep], str]:
    columns = {} if found is None else found.flight_recorder
    origins = [text for text in columns.get(ORIGIN, ()) if text]
    numbers = {n: v.tolist() for n, v in columns.items() if n != ORIGIN and v.dtype.kind == "f"}
    count = len(numbers.get("step", ()))
    return [{n: v[k] for n, v in numbers.items()} for k in range(count)], "".join(origins[-1:])


def _scores(found: RunResults) -> dict[str, float]:
    rows = found.evaluations
    last = rows[rows["step"] == rows["step"].max()]
    means = last.groupby(["metric", "nfe"], sort=False)["value"].mean()
    return {
        metric if nfe == CHOSEN else f"{metric} at {nfe} NFE": float(value)
        for (metric, nfe), value in means.items()
    }


def _order(name: str) -> int:
    """Sort by when a step computes a value: tangent, terms, their sum, gradient."""
    known = ("jvp_norm", "loss/", "gradient_norm")
    if name == "loss/total":
        return 2
    place = next((k for k, prefix in enumerate(known) if name.startswith(prefix)), 3)
    return place if place < 2 else place + 1
