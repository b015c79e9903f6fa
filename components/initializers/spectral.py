"""Spectral initialisation: the paper's."""

from __future__ import annotations

import torch
from torch import Tensor

from components.initializers.draws import SMALL, fill_normal, fill_spectral, fill_xavier_normal
from framework import register
from framework.protocols import Role


@register.initializer("spectral")
class Spectral:
    """Linear layers of spectral norm 1; embeddings of times and classes N(0, 0.02²).

    Xavier-normal divided by the largest singular value; the patch embedding stays plain
    Xavier-normal [release]; modulation and output layers are zero.
    """

    def __call__(self, weight: Tensor, role: Role, generator: torch.Generator) -> None:
        """Fill `weight` in place."""
        match role:
            case Role.ZERO:
                torch.nn.init.zeros_(weight)
            case Role.TIME_EMBEDDING | Role.CLASS_EMBEDDING:
                fill_normal(weight, SMALL, generator)
            case Role.PATCH_EMBEDDING:
                fill_xavier_normal(weight, generator)
            case Role.LINEAR:
                fill_spectral(weight, generator)
