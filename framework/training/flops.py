"""What a step of a run costs, counted once at its start."""

from __future__ import annotations

import logging

import torch

from framework.training.cost import step_operations
from framework.training.settings import Train

log = logging.getLogger(__name__)

SAMPLES = 2


def flops_per_step(train: Train, device: torch.device) -> float:
    """Return the floating-point operations of one update, 0.0 where they cannot be counted.

    They are `cost.step_operations`, of two samples and scaled to the batch. On a CPU two samples
    are computed, which takes less time than to count without computing; for a GPU nothing is.
    """
    size = min(SAMPLES, train.batch_size)
    place = torch.device("cpu" if device.type == "cpu" else "meta")
    try:
        with torch.random.fork_rng(devices=[]):
            operations = step_operations(train, place, size)
    except RuntimeError as error:  # what meta tensors raise where a value is asked for
        log.info("operations of a step are not counted: %s", str(error).partition("\n")[0])
        return 0.0
    return float(operations) * train.batch_size / size
