"""The largest eigenvalue of a Gram matrix."""

from __future__ import annotations

import torch
from torch import Tensor

_SQUARINGS = 24


def largest_eigenvalue(gram: Tensor) -> Tensor:
    """Return the largest eigenvalue (0-d) of a Gram matrix (n, n) in float64.

    A solver finds all n of them: on a CPU with the fewest operations, on a GPU by thousands of
    small kernels one after another.
    """
    return by_products(gram) if gram.is_cuda else torch.linalg.eigvalsh(gram)[-1]


def by_products(gram: Tensor) -> Tensor:
    """Return the largest eigenvalue from a power of the matrix, squared 24 times.

    Its power P of trace one is the projection onto the vector of the largest eigenvalue, which then
    is the trace of P times the matrix. What a second one adds, a relative distance d below it, is
    d exp(-2^24 d), at most 2e-8: a singular value's float32 is the solver's.
    """
    power = gram / gram.trace()
    for _ in range(_SQUARINGS):
        power = power @ power
        power /= power.trace()
    return (power * gram).sum()
