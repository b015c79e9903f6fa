"""Muon for matrices, AdamW for everything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from components.optimizers.ranges import Betas, Momentum
from framework import register
from framework.settings import NonNegative, Positive


class Together:
    """Two optimizers as one, each with its own parameters."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict]:
        """Return the groups of all parts; what is set in them takes effect."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """Update the parameters from their gradients."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


@register.optimizer("muon")
def muon(
    parameters: list[tuple[str, nn.Parameter]],
    lr: Positive = 1e-4,
    momentum: Momentum = 0.95,
    betas: Betas = (0.9, 0.95),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    by_adamw: tuple[str, ...] = ("patch_embedding", "classes", "output"),
) -> Together:
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
