"""Numeric precision of a run: autocast over float32 weights, and the gradient scaler of fp16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from framework.training.settings import Precision

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """Return the context in which the network runs."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, _AUTOCAST[precision])


def scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Return a gradient scaler that does nothing but for fp16."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
