"""Muon for matrices, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import nn

from components.optimizers.ranges import Betas, Momentum
from framework import register
from framework.settings import NonNegative, Positive


class Together(torch.optim.Optimizer):
    """Optimizers as one: each has its own parameters and, here, the group that sets its rate."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        groups = [group for part in parts for group in part.param_groups]
        super().__init__([{"params": group["params"], "lr": group["lr"]} for group in groups], {})
        self.parts = parts

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the parameters from their gradients."""
        loss = None if closure is None else closure()
        inner = (group for part in self.parts for group in part.param_groups)
        for mine, theirs in zip(self.param_groups, inner, strict=True):
            theirs["lr"] = mine["lr"]
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        inner = (group for part in self.parts for group in part.param_groups)
        for mine, theirs in zip(self.param_groups, inner, strict=True):
            mine["lr"] = theirs["lr"]


@register.optimizer("muon")
def muon(
    parameters: list[tuple[str, nn.Parameter]],
    lr: Positive = 1e-4,
    momentum: Momentum = 0.95,
    betas: Betas = (0.9, 0.95),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    by_adamw: tuple[str, ...] = ("patch_embedding", "point_embedding", "classes", "output"),
) -> torch.optim.Optimizer:
    """Muon (Jordan et al., 2024) for the matrices inside the network, AdamW for the rest.

    Muon's updates are scaled to the size of AdamW's (Liu et al., "Muon is Scalable for LLM
    Training", 2025), so that both go with one learning rate.

    Args:
        parameters: (name, parameter) pairs.
        lr: learning rate of both.
        momentum: Muon's, in Nesterov's form.
        betas: AdamW's.
        eps: AdamW's.
        weight_decay: decoupled weight decay of both.
        by_adamw: matrices with one of these words in their name go to AdamW too: embeddings and
            the last layer.
    """
    matrices: list[tuple[str, nn.Parameter]] = []
    others: list[tuple[str, nn.Parameter]] = []
    for name, parameter in parameters:
        inside = parameter.ndim == 2 and not any(word in name for word in by_adamw)
        (matrices if inside else others).append((name, parameter))
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(
            torch.optim.Muon(
                matrices,
                lr=lr,
                momentum=momentum,
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if others:
        parts.append(
            torch.optim.AdamW(others, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        )
    return Together(*parts)
