"""The activation of a transformer's MLP."""

from __future__ import annotations

import math
from importlib.util import find_spec

import torch
from torch import Tensor

if find_spec("triton") is not None:
    from kernels.gelu import gelu, takes
else:

    def takes(z: Tensor) -> bool:
        """There are no kernels without Triton."""
        return False


def tanh_gelu(x: Tensor) -> Tensor:
    """Return x (1 + tanh u) / 2 with u = sqrt(2/pi) (x + 0.044715 x³), elementwise.

    Compiled, in its other form x sigmoid(2u): the derivatives of tanh that a tangent's gradient
    takes (a hyperbolic cosine, powers) bind a kernel by arithmetic that could be bound by memory.
    """
    if takes(x):
        return gelu(x)
    if not torch.compiler.is_compiling():
        return torch.nn.functional.gelu(x, approximate="tanh")
    return x * torch.sigmoid(math.sqrt(8 / math.pi) * x * (1 + 0.044715 * x * x))
