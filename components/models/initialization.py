"""Initialisation of a whole network, each parameter from its own named stream."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from framework.protocols import Initializer, Role

# torch's own layers draw from the global generator when reset: their weights have a role instead.
_DRAWN = (nn.Linear, nn.Embedding, nn.Conv2d)


def initialize(
    model: nn.Module,
    initializer: Initializer,
    role: Callable[[str], Role],
    generators: Callable[[str], torch.Generator],
) -> None:
    """Set every parameter of a network.

    Weights (two axes or more) are drawn by the initializer according to the role of their name,
    biases are zero, scales one. A part that wants other values has a method `reset_parameters()`,
    which draws nothing.
    """
    for prefix, module in model.named_modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset) and not isinstance(module, _DRAWN):
            reset()
            continue
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.ndim >= 2:
                initializer(parameter, role(name), generators(name))
            else:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
