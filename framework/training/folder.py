"""A run's folder: its frozen `config.gin` says what it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from framework.configuration import Configuration, Resolved
from framework.errors import UserError
from framework.files import publish
from framework.runs import CONFIG

STEPS = "train.steps"
COMPARED = 256  # learning rates, at most


def prepare(directory: Path, resolved: Resolved) -> None:
    """Make the folder of a run and write its configuration, unless it is there already.

    A run's `train.steps` may be raised: it then goes on from its last checkpoint, as if it had been
    meant to be so long from the start.

    Raises:
        UserError: the folder belongs to another run, or cannot be written; or the steps that were
            made would have had other learning rates.
    """
    path = directory / CONFIG
    if path.exists():
        _check_same_run(path, resolved)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        publish(path, resolved.text())
    except OSError as error:
        raise UserError(
            f"{directory}: cannot be written ({error.strerror}): choose another --output"
        ) from error


def _check_same_run(path: Path, resolved: Resolved) -> None:
    there = Configuration.load([path]).resolve()
    steps = {STEPS: resolved.settings[STEPS]}
    if there.identity == resolved.identity:
        return
    grown = Configuration.load([path]).with_bindings(steps, origin=str(path)).resolve()
    if grown.identity == resolved.identity and steps[STEPS] > there.settings[STEPS]:
        _check_schedule(path.parent, resolved, there.settings[STEPS])
        return
    if grown.identity == resolved.identity:
        raise UserError(
            f"{path.parent} belongs to a run of {there.settings[STEPS]} steps: {STEPS} may be "
            "raised, not lowered; choose another --output for a shorter run"
        )
    ours, theirs = resolved.identifying, grown.identifying
    differing = sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
    raise UserError(
        f"{path.parent} belongs to another run (it differs in {', '.join(differing[:4])}): "
        "choose another --output"
    )


def _check_schedule(directory: Path, resolved: Resolved, before: Any) -> None:
    after = resolved.settings[STEPS]
    resolved.activate()
    schedule = resolved.build("train").schedule
    compared = (*range(1, before, before // COMPARED + 1), before)
    if any(schedule(step, before) != schedule(step, after) for step in compared):
        raise UserError(
            f"{directory} belongs to a run of {before} steps, and of {after} steps the first would "
            "have had other learning rates (train.schedule): choose another --output"
        )
