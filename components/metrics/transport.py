"""Optimal transport between two sets of points of one size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from framework.protocols import Dataset

_SEED = 20_251_119  # of the draws that samples are compared with


def exact_w2(a: Tensor, b: Tensor) -> float:
    """Return the 2-Wasserstein distance of points a, b (M, C): the best assignment, exactly.

    NaN if a number is not finite.
    """
    from scipy.optimize import linear_sum_assignment  # takes a fourth of torch's time to import

    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    if not bool(a.isfinite().all() & b.isfinite().all()):
        return math.nan
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square().numpy()
    rows, columns = linear_sum_assignment(cost)
    return math.sqrt(cost[rows, columns].mean())


def sliced_w2(a: Tensor, b: Tensor, directions: int) -> float:
    """Return the root mean square, over fixed random directions, of W2 along each; (M, C) each.

    NaN if a number is not finite.
    """
    a, b = (x.detach().cpu().double().flatten(1) for x in (a, b))
    if not bool(a.isfinite().all() & b.isfinite().all()):
        return math.nan
    generator = torch.Generator().manual_seed(_SEED)
    axes = torch.randn(a.shape[1], directions, generator=generator, dtype=torch.float64)
    axes = axes / axes.norm(dim=0)
    along_a, along_b = ((x @ axes).sort(dim=0).values for x in (a, b))
    return math.sqrt((along_a - along_b).square().mean())


def draws(dataset: Dataset, count: int, stream: int = 0) -> Tensor:
    """Return `count` examples of the dataset, the same at each call with the same stream.

    They are drawn without repetition where the dataset has enough of them.
    """
    generator = torch.Generator().manual_seed(_SEED + stream)
    order = torch.randperm(len(dataset), generator=generator)
    indices = order.repeat(-(-count // len(order)))[:count]
    u = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    smallest = torch.finfo(torch.float64).tiny
    return dataset.examples(indices, u.clamp(min=smallest)).x
