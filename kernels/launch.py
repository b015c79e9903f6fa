"""From tensors to kernel launches: layouts, strides, grids and settings."""

import math
from functools import lru_cache

import torch
import triton
from torch import Tensor

from kernels import tuning
from kernels.forward_kernel import forward_kernel
from kernels.key_kernel import key_kernel
from kernels.query_kernel import query_kernel

LOG2_E = 1.0 / math.log(2.0)


# Whether the kernels run in Triton's interpreter: TRITON_INTERPRET=1 when they were imported.
INTERPRETED = not isinstance(forward_kernel, triton.runtime.JITFunction)


@lru_cache
def _device_name(device: torch.device) -> str:
    return "interpreter" if INTERPRETED else torch.cuda.get_device_name(device)


def empty_in_layout_of(x: Tensor) -> Tensor:
    """Uninitialised, shape of x (B, H, N, D); memory in the order of x: (B, N, H, D) or as is."""
    B, H, N, D = x.shape
    if x.stride(1) < x.stride(2):
        return x.new_empty((B, N, H, D)).transpose(1, 2)
    return x.new_empty((B, H, N, D))


def empty_statistic(q: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uninitialised (B, H, Nq)."""
    return q.new_empty(q.shape[:3], dtype=dtype)


def _unit_stride(x: Tensor | None) -> Tensor | None:
    """The kernels read rows of adjacent elements: anything else is copied."""
    if x is None or x.stride(3) == 1 or x.shape[3] == 1:
        return x
    return x.contiguous()


def _strides(x: Tensor | None) -> tuple[int, int, int]:
    return (0, 0, 0) if x is None else (x.stride(0), x.stride(1), x.stride(2))


def _settings(
    kernel: str, q: Tensor, k: Tensor, causal: bool, tangents: int
) -> tuning.Settings:
    case = tuning.Case(
        kernel,
        _device_name(q.device),
        q.dtype,
        max(16, triton.next_power_of_2(q.shape[3])),
        tuning.length_class(max(q.shape[2], k.shape[2])),
        causal,
        tangents,
    )
    return tuning.choose(case)


def _constants(q: Tensor, causal: bool, tf32: bool, settings: tuning.Settings) -> dict[str, object]:
    D = q.shape[3]
    return {
        "D": D,
        "BLOCK_M": settings.block_m,
        "BLOCK_N": settings.block_n,
        "BLOCK_D": max(16, triton.next_power_of_2(D)),
        "CAUSAL": causal,
        "PRECISION": "wide" if INTERPRETED else "tf32" if tf32 else "ieee",
        "num_warps": settings.warps,
        "num_stages": settings.stages,
    }


def run_forward(
    q: Tensor, k: Tensor, v: Tensor, tq: Tensor | None, tk: Tensor | None, tv: Tensor | None,
    scale: float, causal: bool, tf32: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """O, O' (B, H, Nq, D); per row (B, H, Nq) the base-2 log-sum-exp, mu, and max P > 1/2."""
    B, H, Nq, _ = q.shape
    Nk = k.shape[2]
    o, to = empty_in_layout_of(q), empty_in_layout_of(q)
    lse, mu, sharp = empty_statistic(q), empty_statistic(q), empty_statistic(q, torch.bool)
    if q.numel() == 0 or Nk == 0:
        return o.zero_(), to.zero_(), lse.zero_(), mu.zero_(), sharp.zero_()
    tangents = tuple(map(_unit_stride, (tq, tk, tv)))
    inputs = (_unit_stride(q), _unit_stride(k), _unit_stride(v), *tangents)
    settings = _settings("forward", q, k, causal, 3 - tangents.count(None))
    grid = (B * H * triton.cdiv(Nq, settings.block_m),)
    strides = [s for x in (*inputs, o) for s in _strides(x)]
    forward_kernel[grid](
        *inputs, o, to, lse, mu, sharp, *strides, H, Nq, Nk, scale, scale * LOG2_E,
        **_constants(q, causal, tf32, settings),
    )  # fmt: skip
    return o, to, lse, mu, sharp


def run_backward(
    do: Tensor | None, dto: Tensor | None,
    q: Tensor, k: Tensor, v: Tensor, tq: Tensor | None, tk: Tensor | None, tv: Tensor | None,
    o: Tensor, to: Tensor, lse: Tensor, mu: Tensor, sharp: Tensor,
    scale: float, causal: bool, tf32: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """dq, dk, dv, dq', dk', dv' shaped like q, k, v; no elements for a tangent that is None."""
    B, H, Nq, _ = q.shape
    Nk = k.shape[2]
    dq, dk, dv = map(empty_in_layout_of, (q, k, v))
    dtq, dtk, dtv = (
        q.new_empty(0) if t is None else empty_in_layout_of(x)
        for t, x in ((tq, q), (tk, k), (tv, v))
    )
    if q.numel() == 0 or k.numel() == 0 or (do is None and dto is None):
        return dq.zero_(), dk.zero_(), dv.zero_(), dtq.zero_(), dtk.zero_(), dtv.zero_()
    inputs = tuple(map(_unit_stride, (q, k, v, tq, tk, tv)))
    do, dto = _unit_stride(do), _unit_stride(dto)
    tangents = 3 - inputs[3:].count(None)
    d1, d2 = empty_statistic(q), empty_statistic(q)
    numbers = (H, Nq, Nk, scale, scale * LOG2_E)

    settings = _settings("query", q, k, causal, tangents)
    strides = [s for x in (*inputs, o, do, dto, dq) for s in _strides(x)]
    query_kernel[(B * H * triton.cdiv(Nq, settings.block_m),)](
        *inputs, o, to, do, dto, lse, mu, sharp, d1, d2, dq, dtq if tq is not None else None,
        *strides, *numbers, **_constants(q, causal, tf32, settings),
    )  # fmt: skip
    if dto is None:  # no kernel writes these
        dtk.zero_(), dtv.zero_()

    strides = [s for x in (*inputs, do, dto, dk, dv) for s in _strides(x)]
    for kernel in ("key_v", "key_k"):
        settings = _settings(kernel, q, k, causal, tangents)
        key_kernel[(B * H * triton.cdiv(Nk, settings.block_n),)](
            *inputs, do, dto, lse, mu, d1, d2,
            dk, dtk if tk is not None else None, dv, dtv if tv is not None else None,
            *strides, *numbers, **_constants(q, causal, tf32, settings),
            WITH_K=kernel != "key_v", WITH_V=kernel != "key_k",
        )  # fmt: skip
    return dq, dk, dv, dtq, dtk, dtv
