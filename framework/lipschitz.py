"""How strongly a vector field stretches: the largest singular value of its Jacobian, by sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from framework.flow import expand

Jvp = Callable[[Tensor, Tensor], Tensor]


def stretch(function: Callable[[Tensor], Tensor], jvp: Jvp, x: Tensor, iterations: int) -> Tensor:
    """Return max |J v| / |v| at each x (B, ...), (B,), by power iteration on J^T J from below.

    `function` maps x to its like, sample by sample; `jvp(x, v)` is its derivative in direction v.
    J^T comes from reverse mode. The start is drawn from a fixed seed.
    """
    generator = torch.Generator().manual_seed(0)
    v = _unit(torch.randn(x.shape, generator=generator).to(x))
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        y = function(leaf)
    value = x.new_zeros(len(x))
    for _ in range(iterations):
        moved = jvp(x, v).detach()
        value = moved.flatten(1).norm(dim=1)
        (back,) = torch.autograd.grad(y, leaf, moved.to(y), retain_graph=True)
        v = _unit(back)
    return value


def _unit(v: Tensor) -> Tensor:
    norm = v.flatten(1).norm(dim=1).clamp(min=torch.finfo(v.dtype).tiny)
    return v / expand(norm, v)
