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

    All tangents are there or none. Vectors are shift and scale, with a branch `a` after its gate.
    """

    x: Tensor
    tx: Tensor | None
    a: Tensor | None
    ta: Tensor | None
    vectors: Tensor
    tvectors: Tensor | None


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


def run_forward(
    x: Tensor, tx: Tensor | None, a: Tensor | None, ta: Tensor | None,
    vectors: Tensor, tvectors: Tensor | None, eps: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """u, u', y, y'; no elements for u without a branch, and for tangents without them."""
    inputs = _as_they_have_to_lie(x, tx, a, ta, vectors, tvectors)
    branch, dual = a is not None, tx is not None
    u, tu = (x.new_empty(x.shape if there else 0) for there in (branch, branch and dual))
    y, ty = (x.new_empty(x.shape if there else 0, dtype=dtype) for there in (True, dual))
    _launch(modulated_norm_forward_kernel, (*inputs, u, tu, y, ty), inputs, eps)
    return u, tu, y, ty


def run_backward(
    x: Tensor, tx: Tensor | None, a: Tensor | None, ta: Tensor | None,
    vectors: Tensor, tvectors: Tensor | None, du: Tensor | None, dtu: Tensor | None,
    dy: Tensor, dty: Tensor | None, eps: float, again: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of x, x', a, a', and of vectors and tangents; y and y' if asked for them `again`.

    Those of vectors are (B, P, K, D) in float32, a sum over P parts of an image each. What is not
    there has no elements.
    """
    inputs = _as_they_have_to_lie(x, tx, a, ta, vectors, tvectors)
    cotangents = [None if each is None else each.contiguous() for each in (du, dtu, dy, dty)]
    grads = [x.new_empty(0 if each is None else x.shape, dtype=_dtype(each)) for each in inputs[:4]]
    programs = share_of(x).programs
    shapes = [(0,) if each is None else (programs, *each.shape[1:]) for each in inputs[4:]]
    sums = [x.new_empty(shape, dtype=torch.float32) for shape in shapes]
    wanted = (again, again and tx is not None)
    y, ty = (dy.new_empty(x.shape if there else 0) for there in wanted)
    outputs = (y if again else None, ty if again and tx is not None else None)
    pointers = (*inputs, *cotangents, *grads, *sums, *outputs)
    _launch(modulated_norm_backward_kernel, pointers, inputs, eps)
    parts = [each if each.ndim == 1 else each.unflatten(0, (x.shape[0], -1)) for each in sums]
    return *grads, *parts, y, ty


def _dtype(x: Tensor | None) -> torch.dtype | None:
    return None if x is None else x.dtype


def _launch(kernel: Any, pointers: tuple[Tensor | None, ...], inputs: Inputs, eps: float) -> None:
    share = share_of(inputs.x)
    N, D = inputs.x.shape[1:]
    strides = [0 if x is None else x.stride(0) for x in inputs[4:]]
    constants: dict[str, object] = {
        "D": D, "BLOCK_D": padded(D), "ROWS": share.rows,
        "STAGES": STAGES, "num_warps": 8, "num_stages": 1,
    }  # fmt: skip
    launch(kernel, share.programs, pointers, (*strides, N, eps), constants)


def _as_they_have_to_lie(*given: Tensor | None) -> Inputs:
    """The inputs, tokens without gaps between rows, nor an image's vectors with any."""
    tokens = [None if x is None else x.contiguous() for x in given[:4]]
    vectors = [None if x is None else _rows_together(x) for x in given[4:]]
    return Inputs._make((*tokens, *vectors))


def _rows_together(x: Tensor) -> Tensor:
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()
