"""What a step costs in floating-point operations: counted once, at the start of a run."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from framework.evaluator import Evaluator
from framework.protocols import Batch
from framework.training.settings import Train
from framework.training.trainer import as_module, construct_model

log = logging.getLogger(__name__)

SAMPLES = 2


def flops_per_step(train: Train, device: torch.device) -> float:
    """Return the floating-point operations of one update, 0.0 where they cannot be counted.

    Matrix products and convolutions of the loss's passes, tangents and averages included, and of
    the backward pass, a multiplication and an addition being two. They are counted for two samples
    and scaled to the batch; what checkpointing computes again and what an optimizer multiplies do
    not count, so that compiled, checkpointed and plain runs of one loss cost the same. For a GPU
    nothing is computed: fake tensors go through plain attention, which kernels do not escape.
    """
    size = min(SAMPLES, train.batch_size)
    fake: AbstractContextManager = nullcontext() if device.type == "cpu" else FakeTensorMode()
    try:
        with fake, torch.random.fork_rng(devices=[]):
            model = as_module(construct_model(train))
            evaluate = Evaluator(model, dict.fromkeys(train.loss.averages(), model))
            with FlopCounterMode(display=False) as counter:
                train.loss(_batch(train, size), evaluate).total.mean().backward()
    except RuntimeError as error:  # what fake tensors raise where a value is asked for
        log.info("operations of a step are not counted: %s", str(error).partition("\n")[0])
        return 0.0
    return float(counter.get_total_flops()) * train.batch_size / size


def _batch(train: Train, size: int) -> Batch:
    """Return a batch of zeros: its values do not change its cost."""
    x = torch.zeros(size, *train.dataset.shape)

    def uniform(stream: str, width: int) -> Tensor:
        return torch.full((size, width), 0.5, dtype=torch.float64)

    labels = torch.zeros(size, dtype=torch.int64)
    return Batch(x, x.clone(), labels, train.dataset.num_classes, uniform)
