"""Schedule-free AdamW, by the package schedulefree."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import annotated_types
import torch
from torch import nn

from components.checks import require
from components.optimizers.ranges import Momentum
from framework import register
from framework.settings import NonNegative, Positive

Interpolation = Annotated[float, annotated_types.Interval(gt=0, lt=1)]


@register.optimizer("schedule_free_adamw")
def schedule_free_adamw(
    parameters: list[tuple[str, nn.Parameter]],
    lr: Positive = 1e-3,
    betas: tuple[Interpolation, Momentum] = (0.9, 0.95),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Schedule-free AdamW (Defazio et al., "The Road Less Scheduled", 2024).

    Steps of AdamW without momentum move z; x is the average of z, weighted by the square of the
    learning rate; gradients are taken at y = (1 - beta1) z + beta1 x, which the network holds.
    Evaluation and averages see x. Goes with a constant learning rate or a warm-up.

    Args:
        parameters: (name, parameter) pairs.
        lr: learning rate; larger than AdamW's.
        betas: how near y lies to x, and decay of the average of the squared gradient.
        eps: added to the root of that average.
        weight_decay: decoupled weight decay, of y.

    Raises:
        UserError: the package is not installed.
    """
    require(
        find_spec("schedulefree") is not None,
        "optimizers.schedule_free_adamw needs the package schedulefree: pip install "
        "'tvmlab[optimizers]'",
    )
    from components.optimizers.interpolated import InterpolatedAdamW

    optimizer: torch.optim.Optimizer = InterpolatedAdamW(
        [parameter for _, parameter in parameters],
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
    )
    return optimizer
