"""Stochastic gradient descent."""

from __future__ import annotations

import torch
from torch import nn

from components.optimizers.ranges import Momentum
from framework import register
from framework.settings import NonNegative, Positive


@register.optimizer("sgd")
def sgd(
    parameters: list[tuple[str, nn.Parameter]],
    lr: Positive = 1e-2,
    momentum: Momentum = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """SGD with momentum: what adaptive optimizers are compared with.

    Args:
        parameters: (name, parameter) pairs.
        lr: learning rate.
        momentum: share of the last step that is repeated.
        nesterov: whether the gradient is taken after that repetition (needs momentum).
        weight_decay: L2 penalty.
    """
    return torch.optim.SGD(
        parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )
