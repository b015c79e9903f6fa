"""Xavier-uniform initialisation: the original DiT's."""

from __future__ import annotations

import torch
from torch import Tensor

from components.initializers.draws import SMALL, fill_normal, fill_xavier_uniform
from framework import register
from framework.protocols import Role


@register.initializer("xavier_uniform")
class XavierUniform:
    """Linear layers Xavier-uniform, embeddings of times and classes N(0, 0.02²), outputs zero.

    The original DiT's (Peebles and Xie, 2023), its patch embedding included.
    """

    def __call__(self, weight: Tensor, role: Role, generator: torch.Generator) -> None:
        """Fill `weight` in place."""
        match role:
            case Role.ZERO:
                torch.nn.init.zeros_(weight)
            case Role.TIME_EMBEDDING | Role.CLASS_EMBEDDING:
                fill_normal(weight, SMALL, generator)
            case Role.PATCH_EMBEDDING | Role.LINEAR:
                fill_xavier_uniform(weight, generator)
