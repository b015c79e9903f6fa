"""Whether runs can train in the processes asked for, looked at before anything is submitted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from framework.distribution import placing
from framework.errors import UserError
from framework.grid.plan import Cell
from framework.launching.gpus import visible_gpus


def check(cells: Sequence[Cell], executor: str) -> None:
    """Check the cells that a launch would run.

    Raises:
        UserError: their processes cannot share a batch, or be had here.
    """
    on_cluster = executor == "slurm" or (executor == "auto" and bool(shutil.which("sbatch")))
    for cell in cells:
        count = cell.resources.processes_per_run
        placing.check(cell.resolved.settings, count)
        if not on_cluster:
            _check_here(cell, count, executor)
    counts = {cell.resources.processes_per_run for cell in cells}
    if len(counts) > 1 and not on_cluster:
        raise UserError(
            f"runs with {' and '.join(map(str, sorted(counts)))} processes: on one machine those "
            "of a launch have the same number; launch their arms apart"
        )


def _check_here(cell: Cell, count: int, executor: str) -> None:
    if cell.resources.nodes > 1:
        raise UserError(
            f"launch.nodes = {cell.resources.nodes}: this machine is one node; leave it out, or "
            "submit with --executor slurm"
        )
    if count > 1 and executor == "inline":
        raise UserError(
            f"--executor inline runs in this process, and {cell.arm} wants {count}: use "
            "--executor local"
        )
    on_cpu = cell.resolved.settings["train.device"] == "cpu"
    gpus = [] if on_cpu else visible_gpus()
    if gpus and count > len(gpus):
        raise UserError(
            f"{cell.arm} wants {count} processes, and this machine has {len(gpus)} GPUs: ask for "
            "fewer, or set train.device = 'cpu'"
        )
