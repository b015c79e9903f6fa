"""Configurations small enough to train on a CPU, in which what differed still differs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from framework.configuration import Binding, Configuration, Key, Origin, Resolved, Value
from framework.errors import UserError

ORIGIN = "grid.probe"
BATCH = 88  # three updates of it draw 264 samples
BATCH_STEP = 8


def shrink(variants: Sequence[Resolved], probe: Mapping[str, Value]) -> list[Resolved]:
    """Return runs with `grid.probe` bound, on the CPU, not compiled, with small batches.

    Batch sizes that differ go on differing, in the same order. Micro-batches, reduced precision and
    weights to start from are left out unless they are what differs.

    Raises:
        UserError: `grid.probe` binds what the runs differ in, or what none of them uses.
    """
    fixed: dict[str, Value] = {"train.device": "cpu", "train.compile": False}
    pieces = {int(run.settings["train.accumulation"]) for run in variants}
    if len(pieces) == 1:
        fixed["train.accumulation"] = 1
        pieces = {1}
    small = _small_batches({int(run.settings["train.batch_size"]) for run in variants}, pieces)
    if len({run.settings["train.precision"] for run in variants}) == 1:
        fixed["train.precision"] = "fp32"
    if len({run.settings["train.start"] for run in variants}) == 1:
        fixed["train.start"] = None  # weights that all start from, of a network of full size
    shrunk, unused = [], set[Key]()
    for index, run in enumerate(variants):
        batch = {"train.batch_size": small[int(run.settings["train.batch_size"])]}
        bound = explicit(run).with_bindings(batch | fixed | dict(probe), ORIGIN)
        resolved = bound.resolve(refuse_unused=False)
        now_unused = {key for key in resolved.unused if resolved.unused[key].origin.file == ORIGIN}
        unused = now_unused if index == 0 else unused & now_unused
        shrunk.append(resolved)
    if unused:
        raise UserError(f"{ORIGIN} binds {min(map(str, unused))}, which no arm uses: remove it")
    _check_still_differ(variants, shrunk, probe)
    return shrunk


def _small_batches(sizes: set[int], pieces: set[int]) -> dict[int, int]:
    """Return a small batch size for each; each number of pieces divides those that are smaller."""
    step = math.lcm(BATCH_STEP, *pieces)
    least = -(-BATCH // step) * step
    return {size: min(size, least + step * rank) for rank, size in enumerate(sorted(sizes))}


def explicit(run: Resolved) -> Configuration:
    """Return the configuration that binds every setting of a run, and nothing else."""
    origin = Origin("the grid")
    bindings = {
        Key(node.scope, node.selector, name): Binding(value, origin)
        for node in run.nodes
        for name, value in node.values.items()
    }
    return Configuration(bindings, run.plugins)


def _check_still_differ(
    variants: Sequence[Resolved], shrunk: Sequence[Resolved], probe: Mapping[str, Value]
) -> None:
    """Refuse a `grid.probe` that takes away what an arm is about."""
    for name in probe:
        full = str(explicit(shrunk[0]).key(name, ORIGIN))
        values = {repr(run.settings[full]) for run in variants if full in run.settings}
        if len(values) > 1:
            raise UserError(
                f"{ORIGIN} binds {full}, which the arms differ in: leave it out of {ORIGIN}"
            )
