"""Attention, and norms, with their Jacobian-vector products and the backward of both, fused.

`attention` is a drop-in for torch's scaled_dot_product_attention that carries tangents;
`attention_jvp` takes them explicitly. Both choose between the Triton kernels and dense torch
operations by device, dtype and shape. `modulated_norm` and `head_norm`, each in a module of its
name, are the norms around it. This package imports only torch and triton.
"""

from kernels import tuning
from kernels.attention import (
    attention,
    attention_jvp,
    auto_choice,
    flash_attention,
    sdpa_attention,
)
from kernels.dense import dense_attention, dense_attention_jvp
from kernels.measure import tune

__all__ = [
    "attention",
    "attention_jvp",
    "auto_choice",
    "dense_attention",
    "dense_attention_jvp",
    "flash_attention",
    "sdpa_attention",
    "tune",
    "tuning",
]
