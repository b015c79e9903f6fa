"""Where the key pass for dk and dk' is Gluon's (hopper_key_kernel.py) instead of Triton's.

Measured at (1, 24, 8192, 128) in bfloat16 on an H200 with Triton 3.6: 6.86 ms against 8.17. It has
one setting, so that tuned settings concern Triton's kernel alone, which remains for all else.
"""

import math
from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor

from kernels import tuning
from kernels.launcher import Plan, addresses

HEAD = 128
LEAST = 1024  # tokens; at 512 Triton's is faster
GROUP, BLOCK, STAGES = 64, 32, 3  # keys of a group of warps; queries a step; steps under way

# Gluon is experimental: of Triton 3.9 it has other names. The kernel is measured with this one.
TRITON = "3.6"


@lru_cache
def capability(device: torch.device) -> tuple[int, int] | None:
    """The compute capability of an NVIDIA GPU, else None."""
    if device.type != "cuda" or torch.version.hip is not None:
        return None
    return torch.cuda.get_device_capability(device)


def takes(
    capability: tuple[int, int] | None, causal: bool,
    tensors: tuple[Tensor | None, ...], statistics: tuple[Tensor, ...],
) -> bool:  # fmt: skip
    """Whether this key pass is Gluon's.

    Args:
        capability: of an NVIDIA GPU; None for all other devices and the interpreter.
        causal: whether there is a causal mask.
        tensors: q, k, v, tq, tk, tv, do, dto, dk, dtk.
        statistics: lse, mu, D1, D2; mu's flag does not matter, D1 and D2 are what it asks for.
    """
    q = tensors[0]
    if capability != (9, 0) or causal or q is None or q.element_size() != 2:
        return False
    N, D = q.shape[2:]
    if D != HEAD or N < LEAST or N % (2 * GROUP):
        return False
    for x in tensors:
        if x is None or x.shape != q.shape or x.dtype != q.dtype:
            return False
    read = (*tensors, *statistics)
    return all(x is not None and x.is_contiguous() and x.data_ptr() % 16 == 0 for x in read)


@lru_cache
def kernel() -> Any:
    """The kernel; None where this Triton has no Gluon, or another than the kernel is written in."""
    if triton.__version__.split(".")[:2] != TRITON.split("."):
        return None
    try:
        from kernels.hopper_key_kernel import hopper_key_kernel
    except ImportError:
        return None
    return hopper_key_kernel


def run(tensors: tuple[Tensor | None, ...], statistics: tuple[Tensor, ...], scale: float) -> None:
    """Fill dk and dk', given what `takes` accepts, where there is a `kernel`."""
    q, k, v, tq, tk, tv, do, dto, dk, dtk = tensors
    read = (k, tk, v, tv, q, tq, dto, do, *statistics)
    assert q is not None
    key = ("hopper", q.dtype, q.device.index, q.shape, scale)
    plan = tuning.remembered.get(key)
    if plan is None:
        plan = _plan(q, scale)
        tuning.remember(key, plan)
    plan.launch(kernel(), read, (dk, dtk), addresses(*read, dk, dtk))


def _plan(q: Tensor, scale: float) -> Plan:
    B, H, N, D = q.shape
    return Plan(
        grid=B * H * N // (2 * GROUP),
        numbers=(N, scale, scale / math.log(2.0)),
        constants={"D": D, "BLOCK": BLOCK, "STAGES": STAGES, "num_warps": 4, "num_stages": 1},
        blocks=(*[(GROUP, D)] * 4, *[(BLOCK, D)] * 4, *[(1, BLOCK)] * 4),
        describe=_describe,
    )


@lru_cache
def _layout(bits: int) -> Any:
    """Of a block in shared memory: tiles of 16 bits as wgmma reads them, lines of 32 plainly."""
    from triton.experimental.gluon.language import NVMMASharedLayout

    swizzle = 128 if bits == 16 else 0
    return NVMMASharedLayout(swizzle_byte_width=swizzle, element_bitwidth=bits, rank=2)


def _describe(x: Tensor, rows: int, columns: int) -> Any:
    """A descriptor of x (B, H, N, D) as (B * H * N, D), or of (B, H, N) as (1, B * H * N)."""
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    width = columns if rows > 1 else x.numel()
    shape, layout = [x.numel() // width, width], _layout(8 * x.element_size())
    return TensorDescriptor(x, shape, [width, 1], [rows, columns], layout)
