"""SOAP, by the package pytorch-optimizer."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import nn

from components.checks import require
from components.optimizers.ranges import Betas
from framework import register
from framework.settings import NonNegative, Positive, PositiveInt


@register.optimizer("soap")
def soap(
    parameters: list[tuple[str, nn.Parameter]],
    lr: Positive = 1e-3,
    betas: Betas = (0.95, 0.95),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    precondition_frequency: PositiveInt = 10,
) -> torch.optim.Optimizer:
    """SOAP (Vyas et al., 2024): Adam in the eigenbases of Shampoo; needs pytorch-optimizer.

    Args:
        parameters: (name, parameter) pairs.
        lr: learning rate.
        betas: decays of the averages of the gradient and of its square.
        eps: added to the root of the second average.
        weight_decay: decoupled weight decay.
        precondition_frequency: updates between two looks for the eigenbases.

    Raises:
        UserError: the package is not installed.
    """
    require(
        find_spec("pytorch_optimizer") is not None,
        "optimizers.soap needs the package pytorch-optimizer: pip install 'tvmlab[optimizers]'",
    )
    from pytorch_optimizer import SOAP

    optimizer: torch.optim.Optimizer = SOAP(
        [parameter for _, parameter in parameters],
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        precondition_frequency=precondition_frequency,
    )
    return optimizer
