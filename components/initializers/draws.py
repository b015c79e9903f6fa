"""Draws that initializers share. Weights are (out, in, ...): axes after the first are inputs.

Draws are scaled in place: memory that a process has not touched yet costs more than to scale it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.initializers.eigenvalues import largest_eigenvalue

SMALL = 0.02  # standard deviation of embeddings, as in the original DiT


def fill_normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """Fill a weight from N(0, std²), drawn in float32 whatever the weight's precision."""
    draws = torch.randn(weight.shape, generator=generator, device=generator.device)
    _fill(weight, draws.mul_(std))


def fill_xavier_normal(weight: Tensor, generator: torch.Generator) -> None:
    """Fill a weight from N(0, 2 / (in + out))."""
    fill_normal(weight, math.sqrt(2 / _fans(weight)), generator)


def fill_xavier_uniform(weight: Tensor, generator: torch.Generator) -> None:
    """Fill a weight from U(-a, a) with a = sqrt(6 / (in + out))."""
    draws = torch.rand(weight.shape, generator=generator, device=generator.device)
    _fill(weight, draws.mul_(2).sub_(1).mul_(math.sqrt(6 / _fans(weight))))


def fill_spectral(weight: Tensor, generator: torch.Generator) -> None:
    """Fill a weight as Xavier-normal, divided by its largest singular value."""
    fill_xavier_normal(weight, generator)
    matrix = weight.detach().flatten(1).double()
    rows, columns = matrix.shape
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix  # the smaller one
    _fill(weight, weight.detach() / largest_eigenvalue(gram).sqrt())


def _fans(weight: Tensor) -> int:
    return weight.shape[0] + weight[0].numel()


def _fill(weight: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        weight.copy_(values)
