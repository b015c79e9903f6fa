"""A layer and the tanh-GELU behind it in one product, where no gradient is asked for."""

import torch
from torch import Tensor

from kernels.launcher import on_device
from kernels.operations import NORMS, TAGS

NORMS.define("linear_gelu(Tensor bias, Tensor x, Tensor weight) -> Tensor", tags=TAGS)


def run(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """gelu(x weight + bias) (M, N), on a GPU rounded once; x (M, K), weight (K, N), bias (N,)."""
    if x.is_cuda:
        return torch._addmm_activation(bias, x, weight, use_gelu=True)  # of the tanh form
    return torch.nn.functional.gelu(torch.addmm(bias, x, weight), approximate="tanh")


def without_memory(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """What the result is like."""
    return x.new_empty((x.shape[0], weight.shape[1]))


for device in ("CPU", "CUDA"):
    NORMS.impl("linear_gelu", on_device(run), device)
torch.library.register_fake("tvmlab_norm::linear_gelu", without_memory, lib=NORMS)
