"""What a step has to compute, counted without computing it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from framework.evaluator import Evaluator
from framework.protocols import Batch
from framework.training.settings import Train
from framework.training.trainer import as_module, construct_model

META = torch.device("meta")

# Dense bf16 matrix products per second of GPUs by a part of their name, from their datasheets.
PEAK = {"H100": 989e12, "H200": 989e12, "GH200": 989e12, "A100": 312e12, "B200": 2250e12}


def step_operations(train: Train, device: torch.device = META, samples: int | None = None) -> int:
    """Return the operations of one step's matrix products, by PyTorch's FLOP counter.

    The loss runs eagerly on the meta device, or on the one given, forward and backward, on as many
    samples as a batch has unless told otherwise: every product that the mathematics asks for
    counts 2 m n k once, attention as dense products. What checkpointing computes again is not
    counted, nor elementwise work, nor what an optimizer multiplies.
    """
    with device:
        model = as_module(construct_model(train))
    size, shape = samples or train.batch_size, train.dataset.shape

    def uniform(stream: str, width: int) -> Tensor:
        return torch.rand(size, width, dtype=torch.float64, device=device)

    batch = Batch(
        x0=torch.zeros(size, *shape, device=device),
        noise=torch.zeros(size, *shape, device=device),
        labels=torch.zeros(size, dtype=torch.long, device=device),
        empty_class=train.dataset.num_classes,
        uniform=uniform,
    )
    evaluator = Evaluator(model, dict.fromkeys(train.loss.averages(), model))
    with FlopCounterMode(display=False) as counter:
        train.loss(batch, evaluator).total.mean().backward()
    return int(counter.get_total_flops())


def peak_rate(device_name: str) -> float | None:
    """Return a device's bf16 operations per second by its datasheet, or None if unknown."""
    known = sorted(PEAK, key=len, reverse=True)  # GH200 before H200
    return next((PEAK[name] for name in known if name in device_name), None)
