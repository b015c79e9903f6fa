"""Launches of the kernels of the modulated norm: layouts, shares of tokens, outputs."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.launch import padded
from kernels.launcher import launch
from kernels.modulated_norm_kernels import (
    modulated_norm_backward_kernel,
    modulated_norm_forward_kernel,
)

STAGES = 3  # rows on their way from memory
PROGRAMS = 512  # at least: several for each multiprocessor


class Inputs(NamedTuple):
    """Tokens (B, N, D) and vectors (B, K, D), each followed by its tangent.

    All tangents are there or none. Vectors are shift and scale, with a branch `a` after its gate;
    an earlier branch `e` has its gate in `hold` (B, 1, D).
    """

    x: Tensor
    tx: Tensor | None
    a: Tensor | None
    ta: Tensor | None
    e: Tensor | None
    te: Tensor | None
    hold: Tensor | None
    thold: Tensor | None
    vectors: Tensor
    tvectors: Tensor | None

    @classmethod
    def lying_right(cls, given: tuple[Tensor | None, ...]) -> "Inputs":
        """The inputs, tokens without gaps between rows, nor an image's vectors with any."""
        tokens = [None if x is None else x.contiguous() for x in given[:6]]
        vectors = [None if x is None else _rows_together(x) for x in given[6:]]
        return cls._make((*tokens, *vectors))


class Share(NamedTuple):
    """How rows are shared out to programs."""

    rows: int
    programs: int


def share_of(x: Tensor) -> Share:
    """Shares of tokens (B, N, D): as many rows of an image as leave enough programs."""
    B, N, _ = x.shape
    rows = N
    while rows % 2 == 0 and B * N // rows < PROGRAMS:
        rows //= 2
    return Share(rows, B * N // rows)


def run_forward(*args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """u, u', y, y' of inputs, eps, dtype of y, and whether to give u.

    No elements for u without a branch or that wish, and for tangents without them.
    """
    *given, eps, dtype, add_up = args
    inputs = Inputs.lying_right(tuple(given))
    x, tx, a, *_ = inputs
    wanted, dual = add_up and a is not None, tx is not None
    u, tu = (x.new_empty(x.shape if there else 0) for there in (wanted, wanted and dual))
    y, ty = (x.new_empty(x.shape if there else 0, dtype=dtype) for there in (True, dual))
    sums = (u if wanted else None, tu if wanted and dual else None)
    _launch(modulated_norm_forward_kernel, (*inputs, *sums, y, ty), inputs, eps)
    return u, tu, y, ty


def run_backward(*args: Any) -> tuple[Tensor, ...]:
    """Gradients of x, x', a, a', vectors and tangents, sums of a's; y and y' if asked for again.

    Arguments are the inputs, cotangents of u, u', y, y', eps, and that wish. Gradients of vectors
    are (B, P, K, D) in float32, a sum over P parts of an image each; the sums of a's, a layer's for
    its bias, are (B P, D). What is not there has no elements.
    """
    *given, eps, again = args
    inputs = Inputs.lying_right(tuple(given[:10]))
    cotangents = [None if each is None else each.contiguous() for each in given[10:]]
    x, tx = inputs[:2]
    grads = [x.new_empty(0 if each is None else x.shape, dtype=_dtype(each)) for each in inputs[:4]]
    programs = share_of(x).programs
    shapes = [(0,) if each is None else (programs, *each.shape[1:]) for each in inputs[8:]]
    sums = [x.new_empty(shape, dtype=torch.float32) for shape in shapes]
    wanted = (again, again and tx is not None)
    y, ty = (x.new_empty(x.shape if there else 0, dtype=given[12].dtype) for there in wanted)
    outputs = [each if there else None for each, there in zip((y, ty), wanted)]
    of_bias = x.new_empty((0,) if inputs.a is None else (programs, x.shape[2]), dtype=torch.float32)
    pointers = (*inputs, *cotangents, *grads, *sums, of_bias, *outputs)
    _launch(modulated_norm_backward_kernel, pointers, inputs, eps)
    parts = [each if each.ndim == 1 else each.unflatten(0, (x.shape[0], -1)) for each in sums]
    return *grads, *parts, of_bias, y, ty


def _dtype(x: Tensor | None) -> torch.dtype | None:
    return None if x is None else x.dtype


def _launch(kernel: Any, pointers: tuple[Tensor | None, ...], inputs: Inputs, eps: float) -> None:
    share = share_of(inputs.x)
    N, D = inputs.x.shape[1:]
    strides = [0 if x is None else x.stride(0) for x in inputs[6:]]
    constants: dict[str, object] = {
        "D": D, "BLOCK_D": padded(D), "ROWS": share.rows,
        "STAGES": STAGES, "num_warps": 8, "num_stages": 1,
    }  # fmt: skip
    launch(kernel, share.programs, pointers, (*strides, N, eps), constants)


def _rows_together(x: Tensor) -> Tensor:
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()
