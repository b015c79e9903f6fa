"""From tensors to kernel launches: layouts, strides, grids and settings."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from kernels import tuning
from kernels.descriptors import describable, describe
from kernels.forward_kernel import forward_kernel
from kernels.key_kernel import key_kernel
from kernels.launcher import launch
from kernels.query_kernel import query_kernel

LOG2_E = 1.0 / math.log(2.0)


# Whether the kernels run in Triton's interpreter: TRITON_INTERPRET=1 when they were imported.
INTERPRETED = not isinstance(forward_kernel, triton.runtime.JITFunction)


@lru_cache
def _device_name(device: torch.device) -> str:
    return "interpreter" if INTERPRETED else torch.cuda.get_device_name(device)


def empty_in_layout_of(x: Tensor) -> Tensor:
    """Uninitialised, dense, shape of x (B, H, N, D), memory in the order of x's dimensions."""
    like = torch.empty_like(x)
    if like.stride(3) == 1:
        return like
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def empty_statistics(q: Tensor) -> tuple[Tensor, Tensor]:
    """Uninitialised: two float32 numbers per query (2, B, H, Nq), and a flag (B, H, Nq)."""
    B, H, N, _ = q.shape
    return (
        torch.empty((2, B, H, N), dtype=torch.float32, device=q.device),
        torch.empty((B, H, N), dtype=torch.bool, device=q.device),
    )


def _adjacent(x: Tensor) -> Tensor:
    """The only layout that the kernels do not read as it is: elements of a row apart."""
    return x if x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous()


def _if_any(x: Tensor | None) -> Tensor | None:
    return None if x is None else _adjacent(x)


class Options(NamedTuple):
    """How: the scale a of the logits, the causal mask, and tf32 products."""

    scale: float
    causal: bool
    tf32: bool


class Inputs(NamedTuple):
    """What is differentiated: (B, H, Nq, D) and (B, H, Nk, D), rows of adjacent elements."""

    q: Tensor
    k: Tensor
    v: Tensor
    tq: Tensor | None
    tk: Tensor | None
    tv: Tensor | None


class Outputs(NamedTuple):
    """What the forward leaves for the backward, and the cotangents of o and to.

    o, to, do, dto: (B, H, Nq, D). statistics: (2, B, H, Nq), the base-2 log-sum-exp and mu.
    sharp: (B, H, Nq), whether some P of the row exceeds 1/2.
    """

    o: Tensor
    to: Tensor
    statistics: Tensor
    sharp: Tensor
    do: Tensor | None
    dto: Tensor | None


def inputs_of(
    q: Tensor, k: Tensor, v: Tensor, tq: Tensor | None, tk: Tensor | None, tv: Tensor | None
) -> Inputs:
    """The inputs, copied only where the elements of a row lie apart."""
    return Inputs(
        _adjacent(q), _adjacent(k), _adjacent(v), _if_any(tq), _if_any(tk), _if_any(tv)
    )  # fmt: skip


def settings_for(kernel: str, inputs: Inputs, options: Options) -> tuning.Settings:
    """The settings of tuning.choose for these tensors."""
    q = inputs.q
    _, _, Nq, D = q.shape
    tangents = tuple([x is not None for x in inputs[3:]])
    key = (kernel, q.device.index, q.dtype, Nq, inputs.k.shape[2], D, options.causal, tangents)
    return tuning.chosen(key, lambda: case_of(kernel, inputs, options))


def case_of(kernel: str, inputs: Inputs, options: Options) -> tuning.Case:
    """What the settings of this kernel depend on."""
    q = inputs.q
    return tuning.Case(
        kernel,
        _device_name(q.device),
        q.dtype,
        padded(q.shape[3]),
        tuning.length_class(max(q.shape[2], inputs.k.shape[2])),
        options.causal,
        sum(x is not None for x in inputs[3:]),
    )


def padded(D: int) -> int:
    """The head size that the kernels compute with: a power of two, at least 16."""
    return max(16, 1 << (D - 1).bit_length())


def _launch(
    kernel: Any, blocks: int, read: tuple[Tensor | None, ...], other: tuple[Tensor | None, ...],
    strided: tuple[Tensor | None, ...], inputs: Inputs, options: Options,
    settings: tuning.Settings, **flags: bool,
) -> None:  # fmt: skip
    """`blocks` programs for each head and batch entry; the tensors `read` may go through TMA."""
    q = inputs.q
    B, H, Nq, D = q.shape
    strides: list[int] = []
    for x in strided:
        strides += (0, 0, 0) if x is None else x.stride()[:3]
    tma = bool(settings.tma) and all(x is None or describable(x) for x in read)
    numbers = (*strides, H, Nq, inputs.k.shape[2], options.scale, options.scale * LOG2_E)
    given = tuple([x is not None for x in (*read, *other)])
    key = (kernel, q.device.index, q.dtype, given, settings, tma, options, D, *flags.values())
    sources: tuple[Any, ...] = read
    if tma:
        sizes = [settings.block_n if i in (1, 2, 4, 5) else settings.block_m for i in range(8)]
        sources = tuple(
            None if x is None else describe(x, rows, padded(D)) for x, rows in zip(read, sizes)
        )

    def constants() -> dict[str, object]:
        return {
            "D": D,
            "BLOCK_M": settings.block_m,
            "BLOCK_N": settings.block_n,
            "BLOCK_D": padded(D),
            "CAUSAL": options.causal,
            "PRECISION": "wide" if INTERPRETED else "tf32" if options.tf32 else "ieee",
            "TMA": tma,
            **flags,
            "num_warps": settings.warps,
            "num_stages": settings.stages,
        }

    launch(kernel, B * H * blocks, sources, other, numbers, constants, key)


def run_forward(
    inputs: Inputs, options: Options, settings: tuning.Settings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """O, O' (B, H, Nq, D), statistics and sharp, as in Outputs."""
    q = inputs.q
    o, to = empty_in_layout_of(q), empty_in_layout_of(q)
    statistics, sharp = empty_statistics(q)
    rows = -(-q.shape[2] // settings.block_m)
    _launch(
        forward_kernel, rows, inputs, (o, to, statistics, sharp), (*inputs, o),
        inputs, options, settings,
    )  # fmt: skip
    return o, to, statistics, sharp


def run_query_pass(
    inputs: Inputs, outputs: Outputs, options: Options, settings: tuning.Settings
) -> tuple[Tensor, Tensor | None, tuple[Tensor, Tensor]]:
    """dq, dq' (None without tq), and the row sums D1, D2 (B, H, Nq)."""
    q = inputs.q
    dq = empty_in_layout_of(q)
    dtq = None if inputs.tq is None else torch.empty_like(dq)
    sums = (torch.empty_like(outputs.statistics[0]), torch.empty_like(outputs.statistics[0]))
    rows = -(-q.shape[2] // settings.block_m)
    o, to, statistics, sharp, do, dto = outputs
    _launch(
        query_kernel, rows, (*inputs, do, dto), (o, to, statistics, sharp, *sums, dq, dtq),
        (*inputs, do, dto, o, dq), inputs, options, settings,
    )  # fmt: skip
    return dq, dtq, sums


class KeyGrads(NamedTuple):
    """What the key passes write, (B, H, Nk, D); None without the tangent."""

    dk: Tensor
    dtk: Tensor | None
    dv: Tensor
    dtv: Tensor | None


def empty_key_grads(inputs: Inputs) -> KeyGrads:
    """Uninitialised."""
    dk, dv = empty_in_layout_of(inputs.k), empty_in_layout_of(inputs.v)
    dtk = None if inputs.tk is None else torch.empty_like(dk)
    return KeyGrads(dk, dtk, dv, None if inputs.tv is None else torch.empty_like(dv))


def run_key_pass(
    kernel: str, inputs: Inputs, outputs: Outputs, sums: tuple[Tensor, Tensor], grads: KeyGrads,
    options: Options, settings: tuning.Settings,
) -> None:  # fmt: skip
    """Fill dk, dk' ("key_k"), dv, dv' ("key_v") or all four ("key")."""
    do, dto = outputs.do, outputs.dto
    rows = -(-inputs.k.shape[2] // settings.block_n)
    _launch(
        key_kernel, rows, (*inputs, do, dto), (outputs.statistics, *sums, *grads),
        (*inputs, do, dto, grads.dk, grads.dv), inputs, options, settings,
        WITH_K=kernel != "key_v", WITH_V=kernel != "key_k",
    )  # fmt: skip


def attention_jvp(
    q: Tensor, k: Tensor, v: Tensor, tq: Tensor | None, tk: Tensor | None, tv: Tensor | None,
    scale: float, causal: bool, tf32: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The forward op: O, O', statistics, sharp."""
    if q.numel() == 0 or k.numel() == 0:
        o = empty_in_layout_of(q).zero_()
        statistics, sharp = empty_statistics(q)
        return o, torch.zeros_like(o), statistics.zero_(), sharp.zero_()
    inputs = inputs_of(q, k, v, tq, tk, tv)
    options = Options(scale, causal, tf32)
    return run_forward(inputs, options, settings_for("forward", inputs, options))


def attention_jvp_backward(
    do: Tensor | None, dto: Tensor | None,
    q: Tensor, k: Tensor, v: Tensor, tq: Tensor | None, tk: Tensor | None, tv: Tensor | None,
    o: Tensor, to: Tensor, statistics: Tensor, sharp: Tensor,
    scale: float, causal: bool, tf32: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The backward op: dq, dk, dv, dq', dk', dv'; no elements for a tangent that is None."""
    inputs = inputs_of(q, k, v, tq, tk, tv)
    grads = empty_key_grads(inputs)
    if q.numel() == 0 or k.numel() == 0 or (do is None and dto is None):
        dq = empty_in_layout_of(q).zero_()
        dtq = None if tq is None else torch.zeros_like(dq)
        for grad in grads:
            if grad is not None:
                grad.zero_()
    else:
        options = Options(scale, causal, tf32)
        outputs = Outputs(o, to, statistics, sharp, _if_any(do), _if_any(dto))
        settings = settings_for("query", inputs, options)
        dq, dtq, sums = run_query_pass(inputs, outputs, options, settings)
        for kernel in tuning.key_kernels(inputs.q.shape[3]):
            settings = settings_for(kernel, inputs, options)
            run_key_pass(kernel, inputs, outputs, sums, grads, options, settings)
    none = q.new_empty(0)
    return (
        dq, grads.dk, grads.dv, none if dtq is None else dtq,
        none if grads.dtk is None else grads.dtk, none if grads.dtv is None else grads.dtv,
    )  # fmt: skip
