"""Tensor descriptors for Hopper's copy engine (TMA)."""

from functools import lru_cache

import torch
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor


@lru_cache
def _has_copy_engine(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 9


def describable(x: Tensor) -> bool:
    """Whether the copy engine can read x: 16-byte alignment of start and strides, none of them 0.

    The interpreter (a CPU tensor) can always read it.
    """
    if not _has_copy_engine(x.device) and x.device.type != "cpu":
        return False
    step = 16 // x.element_size()
    outer = x.stride()[:3]
    return x.data_ptr() % 16 == 0 and all(s > 0 and s % step == 0 for s in outer)


def describe(x: Tensor, rows: int, columns: int) -> TensorDescriptor:
    """A descriptor of x (B, H, N, D) that loads blocks of (1, 1, rows, columns)."""
    return TensorDescriptor(x, list(x.shape), list(x.stride()), [1, 1, rows, columns])
