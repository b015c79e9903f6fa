"""AdamW."""

from __future__ import annotations

import torch
from torch import nn

from components.optimizers.ranges import Betas
from framework import register
from framework.settings import NonNegative, Positive


@register.optimizer("adamw")
def adamw(
    parameters: list[tuple[str, nn.Parameter]],
    lr: Positive = 1e-4,
    betas: Betas = (0.9, 0.95),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019) with the settings of Table 6.

    Args:
        parameters: (name, parameter) pairs.
        lr: learning rate.
        betas: decays of the averages of the gradient and of its square (Fig. 5: 0.95, not 0.999).
        eps: added to the root of the second average.
        weight_decay: decoupled weight decay.
    """
    fused = all(p.is_cuda for _, p in parameters) or None  # on a GPU one pass over the state
    return torch.optim.AdamW(
        parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused
    )
