"""The tanh-GELU with its tangent and the backward of both, the sum for a layer's bias included."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from kernels import linear_gelu  # noqa: F401  what compiled graphs call, cached ones too
from kernels.errors import check_fused
from kernels.gelu_kernels import gelu_backward_kernel, gelu_forward_kernel
from kernels.launch import INTERPRETED
from kernels.launcher import launch
from kernels.operations import (
    NORMS,
    TAGS,
    LastPass,
    below_autograd,
    call,
    compiled_here,
    implement,
    passing_through,
)
from kernels.transforms import GELU, split_dual

NUMBERS = 1024  # that a program has in registers at a time
PROGRAMS = 1056  # of the backward at least
STAGES = 3  # rows on their way from memory

NORMS.define("gelu(Tensor z, Tensor? tz) -> (Tensor, Tensor)", tags=TAGS)
NORMS.define(
    "gelu_backward(Tensor z, Tensor? tz, Tensor dh, Tensor? dth, bool again) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=TAGS,
)
forward_op = torch.ops.tvmlab_norm.gelu.default
backward_op = torch.ops.tvmlab_norm.gelu_backward.default
_last_pass = LastPass(backward_op, GELU)


def gelu(z: Tensor) -> Tensor:
    """x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x³), elementwise.

    Right under `torch.func.jvp` with reverse mode through it, compiled or not.

    Args:
        z: any shape, on an NVIDIA GPU, 16 bits or float32.

    Raises:
        TypeError: the dtype has no kernel.
        ValueError: z is not on a GPU.
    """
    check_fused({"z": (z, tuple(z.shape))}, 0, 0, INTERPRETED)
    z, tz = split_dual(z)
    h, th = call(forward_op, _GELU, (z, tz), 2, GELU)
    if tz is None:
        return h
    dual: Tensor = forward_ad.make_dual(h, th)
    return dual


def takes(z: Tensor) -> bool:
    """Whether there are kernels for z, and the compiler is at work to call them."""
    return compiled_here(z)


def run_forward(z: Tensor, tz: Tensor | None) -> tuple[Tensor, Tensor]:
    """h and h' (no elements without a tangent)."""
    z, tz = z.contiguous(), None if tz is None else tz.contiguous()
    h, th = z.new_empty(z.shape), z.new_empty(0 if tz is None else z.shape)
    constants: dict[str, object] = {"BLOCK": NUMBERS, "num_warps": 4, "num_stages": 1}
    grid = -(-z.numel() // NUMBERS)
    launch(gelu_forward_kernel, grid, (z, tz, h, th), (z.numel(),), constants)
    return h, th


def run_backward(
    z: Tensor, tz: Tensor | None, dh: Tensor, dth: Tensor | None, again: bool
) -> tuple[Tensor, ...]:
    """dz, dz', the sums (P, C) of dz over P parts of all rows; h and h' if asked for them again.

    What is not there has no elements.
    """
    z, dh = z.contiguous(), dh.contiguous()
    tz, dth = (None if x is None else x.contiguous() for x in (tz, dth))
    C = z.shape[-1]
    rows, blocks = z.numel() // C, -(-C // NUMBERS)
    each = rows
    while each % 2 == 0 and rows // each * blocks < PROGRAMS:
        each //= 2
    parts = rows // each
    dz, dtz = z.new_empty(z.shape), z.new_empty(0 if tz is None else z.shape)
    wanted = (again, again and tz is not None)
    h, th = (z.new_empty(z.shape if there else 0) for there in wanted)
    sums = z.new_empty((parts, C), dtype=torch.float32)
    outputs = [x if there else None for x, there in zip((h, th), wanted)]
    constants: dict[str, object] = {
        "C": C, "BLOCK": NUMBERS, "BLOCKS": blocks, "ROWS": each, "STAGES": STAGES,
        "num_warps": 4, "num_stages": 1,
    }  # fmt: skip
    pointers = (z, tz, dh, dth, dz, dtz, *outputs, sums)
    launch(gelu_backward_kernel, blocks * parts, pointers, (), constants)
    return dz, dtz, sums, h, th


class _GELU(torch.autograd.Function):
    """Reverse rule of the forward op."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return below_autograd(forward_op, args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, dh: Tensor | None, dth: Tensor | None) -> tuple[Tensor | None, ...]:
        z, tz = ctx.saved_tensors
        if dth is None:  # a detached tangent, or none
            tz = None
        dh = torch.zeros_like(z) if dh is None else dh
        dz, dtz, *_ = _last_pass(z, tz, dh, dth, False)
        return dz, None if tz is None else dtz


implement(
    NORMS, "gelu", run_forward,
    passing_through(forward_op, _GELU, 2, lambda _, outputs: outputs, GELU), GELU,
)  # fmt: skip
implement(NORMS, "gelu_backward", run_backward, _last_pass.rule, GELU)
