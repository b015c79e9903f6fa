"""From tensors to kernel launches: layouts, strides, grids and settings."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from kernels import hopper, tuning
from kernels.ahead import compile_ahead, finish, is_traced, variant
from kernels.descriptors import describable
from kernels.forward_kernel import forward_kernel
from kernels.key_kernel import key_kernel
from kernels.launcher import Plan, addresses
from kernels.layouts import adjacent, empty_in_layout_of, empty_statistics
from kernels.query_kernel import query_kernel

Pointers = tuple[Tensor | None, ...]

LOG2_E = 1.0 / math.log(2.0)
FUNCTIONS = {
    "forward": forward_kernel, "query": query_kernel,
    "key": key_kernel, "key_k": key_kernel, "key_v": key_kernel,
}  # fmt: skip

# Whether the kernels run in Triton's interpreter: TRITON_INTERPRET=1 when they were imported.
INTERPRETED = not isinstance(forward_kernel, triton.runtime.JITFunction)


@lru_cache
def _device_name(device: torch.device) -> str:
    return "interpreter" if INTERPRETED else torch.cuda.get_device_name(device)


class Options(NamedTuple):
    """How: the scale a of the logits, the causal mask, tf32 products, and eps of a norm.

    With eps the backward's kernels go on through the norm that queries and keys come from.
    """

    scale: float
    causal: bool
    tf32: bool
    eps: float | None = None


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

    o, to, do, dto: (B, H, Nq, D). lse: (B, H, Nq), the base-2 log-sum-exp, float64 for float32
    inputs. mu: (B, H, Nq), float32, its last bit set where exact row sums are needed.
    """

    o: Tensor
    to: Tensor
    lse: Tensor
    mu: Tensor
    do: Tensor | None
    dto: Tensor | None


def inputs_of(
    q: Tensor, k: Tensor, v: Tensor, tq: Tensor | None, tk: Tensor | None, tv: Tensor | None
) -> Inputs:
    """The inputs, copied only where the elements of a row lie apart."""
    return Inputs._make(adjacent(q, k, v, tq, tk, tv))


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
    kernel: str, read: Pointers, other: Pointers,
    strided: Pointers, inputs: Inputs, options: Options,
    settings: tuning.Settings | None,
) -> None:  # fmt: skip
    """Launch a kernel of tuning.KERNELS; the tensors `read` may go through TMA."""
    q, k = inputs[:2]
    if is_traced(q):
        _compile_ahead(kernel, (*read, *other), strided, inputs, options, settings)
        return
    where = addresses(*read, *other)
    strides = tuple([None if x is None else x.stride() for x in strided])
    alignment = tuple([x % 16 for x in where if x])
    key = (
        kernel, settings, options, q.dtype, q.device.index, q.shape, k.shape[2], strides, alignment
    )  # fmt: skip
    plan = tuning.remembered.get(key)
    if plan is None:
        plan = _plan(kernel, read, strided, inputs, options, settings)
        if plan.blocks is None:
            pointers = (*read, *other)
            finish(variant(FUNCTIONS[kernel], q.device, pointers, plan.numbers, plan.constants))
        tuning.remember(key, plan)
    plan.launch(FUNCTIONS[kernel], read, other, where)


def _compile_ahead(
    kernel: str, pointers: Pointers, strided: Pointers,
    inputs: Inputs, options: Options, settings: tuning.Settings | None,
) -> None:  # fmt: skip
    """Begin to compile a kernel that takes pointers; descriptors need memory to describe."""
    if inputs.q.device.type != "cuda" or not torch.cuda.is_available():
        return
    settings = settings or tuning.choose(case_of(kernel, inputs, options))
    if settings.tma or _masked(inputs):
        return
    plan = _plan(kernel, (), strided, inputs, options, settings)
    compile_ahead(FUNCTIONS[kernel], inputs.q.device, pointers, plan.numbers, plan.constants)


def _masked(inputs: Inputs) -> bool:
    """Whether the copy engine has to fill in columns past D: masks would spill 1.6 kB a thread."""
    D = inputs.q.shape[3]
    return padded(D) > D and inputs.q.dtype != torch.float32


def _plan(
    kernel: str, read: Pointers, strided: Pointers,
    inputs: Inputs, options: Options, settings: tuning.Settings | None,
) -> Plan:  # fmt: skip
    """Everything about a launch that follows from layouts, options and settings."""
    settings = settings or tuning.choose(case_of(kernel, inputs, options))
    B, H, Nq, D = inputs.q.shape
    Nk = inputs.k.shape[2]
    over_keys = kernel.startswith("key")
    tokens, block = (Nk, settings.block_n) if over_keys else (Nq, settings.block_m)
    strides: list[int] = []
    for x in strided:
        strides += (0, 0, 0) if x is None else x.stride()[:3]
    tma = (settings.tma == 1 or _masked(inputs)) and all(x is None or describable(x) for x in read)
    rows = [settings.block_n if i in (1, 2, 4, 5) else settings.block_m for i in range(8)]
    more: dict[str, object] = {} if kernel == "forward" else {"EPS": options.eps}
    if over_keys:
        more = {"WITH_K": kernel != "key_v", "WITH_V": kernel != "key_k", **more}
    return Plan(
        grid=B * H * -(-tokens // block),
        numbers=(*strides, H, Nq, Nk, options.scale, options.scale * LOG2_E),
        constants={
            "D": D,
            "BLOCK_M": settings.block_m,
            "BLOCK_N": settings.block_n,
            "BLOCK_D": padded(D),
            "CAUSAL": options.causal,
            "PRECISION": "wide" if INTERPRETED else "tf32" if options.tf32 else "ieee",
            "TMA": tma,
            **more,
            "num_warps": settings.warps,
            "num_stages": settings.stages,
        },
        blocks=tuple([(n, padded(D)) for n in rows]) if tma else None,
    )


def run_forward(
    inputs: Inputs, options: Options, settings: tuning.Settings | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """O, O', lse and mu, as in Outputs; with the settings of tuning.choose unless given."""
    q = inputs.q
    o = empty_in_layout_of(q)
    to = torch.empty_like(o)
    lse, mu = empty_statistics(q)
    _launch("forward", inputs, (o, to, lse, mu), (*inputs, o), inputs, options, settings)
    return o, to, lse, mu


def run_query_pass(
    inputs: Inputs, outputs: Outputs, options: Options, settings: tuning.Settings | None = None
) -> tuple[Tensor, Tensor | None, tuple[Tensor, Tensor]]:
    """dq, dq' (None without tq), and the row sums D1, D2 (B, H, Nq)."""
    dq = empty_in_layout_of(inputs.q)
    dtq = None if inputs.tq is None else torch.empty_like(dq)
    return dq, dtq, fill_query_grads(inputs, outputs, dq, dtq, options, settings)


def fill_query_grads(
    inputs: Inputs, outputs: Outputs, dq: Tensor, dtq: Tensor | None, options: Options,
    settings: tuning.Settings | None = None, norm: Pointers = (None,) * 5,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Fill dq and dq', give D1 and D2; `norm` as head_norm_epilogue.store_through_norm takes it."""
    sums = (torch.empty_like(outputs.mu), torch.empty_like(outputs.mu))
    o, to, lse, mu, do, dto = outputs
    _launch(
        "query", (*inputs, do, dto), (o, to, lse, mu, *sums, dq, dtq, *norm),
        (*inputs, do, dto, o, dq), inputs, options, settings,
    )  # fmt: skip
    return sums


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
    options: Options, settings: tuning.Settings | None = None,
    norm: Pointers = (None,) * 6,
) -> None:  # fmt: skip
    """Fill dk, dk' ("key_k"), dv, dv' ("key_v") or all four ("key").

    Gluon's "key_k" runs where hopper.takes it and no `settings` ask for Triton's. `norm` is of
    "key" alone: as head_norm_epilogue.store_through_norm takes it, and where sums of dv go.
    """
    read = (*inputs, outputs.do, outputs.dto)
    statistics = (outputs.lse, outputs.mu, *sums)
    if kernel == "key_k" and settings is None and not INTERPRETED and not is_traced(inputs.q):
        capability = hopper.capability(inputs.q.device)
        tensors = (*read, grads.dk, grads.dtk)
        if hopper.takes(capability, options.causal, tensors, statistics) and hopper.kernel():
            hopper.run(tensors, statistics, options.scale)
            return
    _launch(
        kernel, read, (*statistics, *grads, *norm),
        (*read, grads.dk, grads.dv), inputs, options, settings,
    )  # fmt: skip


def attention_jvp(
    q: Tensor, k: Tensor, v: Tensor, tq: Tensor | None, tk: Tensor | None, tv: Tensor | None,
    scale: float, causal: bool, tf32: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The forward op: O, O', lse, mu."""
    if q.numel() == 0 or k.numel() == 0:
        o = empty_in_layout_of(q).zero_()
        lse, mu = empty_statistics(q)
        return o, torch.zeros_like(o), lse.zero_(), mu.zero_()
    inputs = inputs_of(q, k, v, tq, tk, tv)
    return run_forward(inputs, Options(scale, causal, tf32))


def attention_jvp_backward(
    do: Tensor | None, dto: Tensor | None,
    q: Tensor, k: Tensor, v: Tensor, tq: Tensor | None, tk: Tensor | None, tv: Tensor | None,
    o: Tensor, to: Tensor, lse: Tensor, mu: Tensor,
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
        outputs = Outputs(o, to, lse, mu, *adjacent(do, dto))
        dq, dtq, sums = run_query_pass(inputs, outputs, options)
        for kernel in tuning.key_kernels(inputs.q.shape[3]):
            run_key_pass(kernel, inputs, outputs, sums, grads, options)
    none = q.new_empty(0)
    return (
        dq, grads.dk, grads.dv, none if dtq is None else dtq,
        none if grads.dtk is None else grads.dtk, none if grads.dtv is None else grads.dtv,
    )  # fmt: skip
