"""Whether the processes of a run hold the same: only what the first one holds is saved and shown.

Sums of gradients are equal to the bit in all processes (see `GradientSums`), and what is made of
them is computed alike: so weights, averages and the optimizer's state have to be equal to the bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.configuration import Resolved
from framework.distribution import World
from framework.distribution.trees import mapped
from framework.errors import UserError
from framework.evaluator import TRAINED
from framework.training.trainer import Trainer

DRIFTED = (
    "loss, optimizer and buffers (as of batch normalisation) have to do the same in every process, "
    "and their machines to be of one kind"
)
READ = "let all of them read one folder, and the same weights as train.start"

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def check_same_run(world: World, resolved: Resolved, directory: Path) -> None:
    """Check that the processes that have met make one run.

    Raises:
        UserError: they have different configurations.
    """
    digest = hashlib.sha256(resolved.text().encode()).hexdigest()[:8]
    everyones = world.everyones((digest, str(directory)))
    other = _unlike([digest for digest, _ in everyones])
    if other:
        shown = (f"process {k} trains {everyones[k][1]} ({everyones[k][0]})" for k in (0, other))
        raise UserError(
            f"processes of different configurations have met: {', '.join(shown)}: let those of a "
            "run read one folder, and runs at one time meet at MASTER_PORTs of their own"
        )


def check(trainer: Trainer, world: World, directory: Path, advice: str = DRIFTED) -> None:
    """Check that all processes hold the same state, but for what lies in shards.

    Raises:
        UserError: they do not; it names the run, the step and the first thing that differs.
    """
    if world.size == 1:
        return
    steps = world.everyones(trainer.step)
    if other := _unlike(steps):
        raise UserError(
            f"{directory}: process 0 is at step {steps[0]}, and process {other} at step "
            f"{steps[other]}: {advice}"
        )
    everyones = world.everyones(_checksums(trainer))
    for name in dict.fromkeys(name for each in everyones for name in each):
        if other := _unlike([each.get(name) for each in everyones]):
            raise UserError(
                f"{directory}: at step {trainer.step} processes 0 and {other} differ in {name}: "
                f"{advice}"
            )


def _unlike(everyones: Sequence[object]) -> int:
    """Return the first process whose value is not that of process 0; 0 where there is none."""
    return next((k for k, value in enumerate(everyones) if value != everyones[0]), 0)


def checksum(x: Tensor) -> Tensor:
    """Return a number (0-d, int64) that changes with every element's bits and with their order."""
    bits = x.detach().reshape(-1).view(_BITS.get(x.element_size(), torch.int64))
    odd = torch.arange(1, 2 * len(bits), 2, device=x.device)  # invertible modulo 2^64
    return (bits * odd).sum()


def _checksums(trainer: Trainer) -> dict[str, int]:
    """Return checksums of what every process holds whole; they are read in one go."""
    named = [
        (name, checksum(x).to(trainer.device))
        for name, x in _held(trainer)
        if isinstance(x, Tensor) and not hasattr(x, "to_local")
    ]
    sums = torch.stack([each for _, each in named]).tolist() if named else []
    return {name: each for (name, _), each in zip(named, sums, strict=True)}


def _held(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    """Yield parameters, buffers and what the optimizer keeps, by name."""
    for weights, network in {TRAINED: trainer.model, **trainer.averages.networks}.items():
        for name, x in (*network.named_parameters(), *network.named_buffers()):
            yield f"{name} of the {weights} weights", x
    kept: list[tuple[str, Any]] = []
    mapped(trainer.optimizer.state_dict()["state"], lambda path, x: kept.append((path, x)))
    yield from ((f"{path.removeprefix('/')} of the optimizer's state", x) for path, x in kept)
