"""Lion."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import torch
from torch import nn

from components.checks import at_least, positive, require
from components.optimizers.ranges import Betas
from framework import register
from framework.settings import NonNegative, Positive


@register.optimizer("lion")
def lion(
    parameters: list[tuple[str, nn.Parameter]],
    lr: Positive = 1e-5,
    betas: Betas = (0.9, 0.99),
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023).

    Args:
        parameters: (name, parameter) pairs.
        lr: learning rate; a third to a tenth of AdamW's.
        betas: share of the momentum in the update, and decay of the momentum.
        weight_decay: decoupled weight decay.
    """
    return Lion([parameter for _, parameter in parameters], lr, betas, weight_decay)


class Lion(torch.optim.Optimizer):
    """Steps of size lr along sign(beta1 m + (1 - beta1) g), where m averages g with beta2."""

    def __init__(
        self, parameters: list[nn.Parameter], lr: float, betas: Betas, weight_decay: float
    ) -> None:
        positive("lr", lr)
        at_least("weight_decay", weight_decay, 0)
        require(all(0 <= b < 1 for b in betas), f"betas are {betas}: at least 0 and below 1")
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the parameters from their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group)
        return loss

    def _update(self, weight: nn.Parameter, gradient: torch.Tensor, lr: float, group: dict) -> None:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"]
        beta1, beta2 = group["betas"]
        direction = torch.lerp(gradient, momentum, beta1).sign_()
        weight.mul_(1 - lr * group["weight_decay"]).sub_(direction, alpha=lr)
        momentum.lerp_(gradient, 1 - beta2)
