"""Which placement a run has, and whether its processes can share its batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from framework.distribution.placement import Placement, Replicated
from framework.distribution.world import World
from framework.errors import UserError


def placement_of(distribution: str, world: World, device: torch.device) -> Placement:
    """Return how the networks of a run lie on its processes; a single one holds them whole."""
    if distribution == "ddp" or world.size == 1:
        return Replicated(world.size)
    from framework.distribution.sharded import Sharded  # takes a second to import

    return Sharded(world.size, device)


def check(settings: Mapping[str, Any], processes: int) -> None:
    """Check that a run of these settings, by their full names, can have so many processes.

    Raises:
        UserError: they cannot share a batch, or it replays what one process does on its own.
    """
    micro_batches(settings["train.batch_size"], settings["train.accumulation"], processes)
    shards = processes > 1 and settings["train.distribution"] == "fsdp"
    if shards and settings["train.cuda_graphs"]:
        raise UserError(
            "train.cuda_graphs replays what a process does on its own, and weights in shards are "
            f"gathered from all {processes}: set it to False, or train.distribution to 'ddp'"
        )


def micro_batches(batch_size: int, accumulation: int, processes: int) -> int:
    """Return how many micro-batches each of several processes makes of its part of a batch.

    They share those of a single process, as far as there are enough: the settings of a run fit
    any number of GPUs, of which none sees more samples at once than one would.

    Raises:
        UserError: the batch cannot be divided like that.
    """
    if batch_size % accumulation:
        raise UserError(
            f"train.accumulation = {accumulation} does not divide train.batch_size = "
            f"{batch_size}: micro-batches are of one size"
        )
    pieces = -(-accumulation // processes)
    if batch_size % (processes * pieces):
        shared = f" in {pieces} micro-batches each" if pieces > 1 else ""
        raise UserError(
            f"{processes} processes cannot share train.batch_size = {batch_size} evenly{shared}: "
            "change it, train.accumulation or the number of processes"
        )
    return pieces
