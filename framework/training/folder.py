"""A run's folder: its frozen `config.gin` says what it trains."""

from __future__ import annotations

from pathlib import Path

from framework.configuration import Configuration, Resolved
from framework.errors import UserError
from framework.launching.outcomes import CONFIG as CONFIG

STEPS = "train.steps"


def prepare(directory: Path, resolved: Resolved) -> None:
    """Make the folder of a run and write its configuration, unless it is there already.

    A run's `train.steps` may be raised: it then goes on from its last checkpoint.

    Raises:
        UserError: the folder belongs to another run, or cannot be written.
    """
    path = directory / CONFIG
    if path.exists():
        _check_same_run(path, resolved)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".gin.new")
        beside.write_text(resolved.text())
        beside.rename(path)
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
