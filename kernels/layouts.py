"""Memory of attention's inputs and outputs (B, H, N, D), as the kernels read and write it."""

import torch
from torch import Tensor


def empty_in_layout_of(x: Tensor) -> Tensor:
    """Uninitialised, dense, shape of x (B, H, N, D), memory in the order of x's dimensions."""
    like = torch.empty_like(x)
    if like.stride(3) == 1:
        return like
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def empty_statistics(q: Tensor) -> tuple[Tensor, Tensor]:
    """Uninitialised lse and mu (B, H, Nq), as in Outputs.

    Two tensors: together they would exceed the size up to which torch packs allocations closely,
    and take up to 1 MiB more.
    """
    B, H, Nq, _ = q.shape
    mu = q.new_empty((B, H, Nq), dtype=torch.float32)
    accurate = torch.float64 if q.dtype == torch.float32 else torch.float32
    return torch.empty_like(mu, dtype=accurate), mu


def adjacent(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """The tensors; copies of those whose rows have their elements apart, which no kernel reads."""
    for x in tensors:
        if x is not None and x.stride(3) != 1:
            break
    else:
        return tensors
    return tuple(
        [x if x is None or x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous() for x in tensors]
    )
