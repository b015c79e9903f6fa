"""Tuning on request: time candidate settings on given tensors and remember the fastest."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from triton.runtime.errors import OutOfResources
from triton.testing import do_bench

from kernels import launch, tuning
from kernels.dense import default_scale
from kernels.errors import check_flash, check_inputs


def candidates(case: tuning.Case) -> list[tuning.Settings]:
    """Settings worth trying, the same list in the same order every time.

    Compiled for sm_90 these keep wgmma's 64 rows a warp group and spill little or nothing.
    """
    if case.dtype == torch.float32:
        blocks = [(16, 32), (32, 32), (32, 16), (16, 16)]
        found = [(own, other, 8, 1, 0) for own, other in blocks]
    else:
        blocks = [(64, 32), (128, 32), (64, 64), (128, 64)] + [(128, 16)] * (case.head > 64)
        found = [
            (own, other, warps, stages, tma)
            for own, other in blocks
            for warps in ((8,) if own == 128 else (4,) if case.head > 64 else (4, 8))
            for stages in ((1, 2) if case.head == 256 else (2, 3))
            for tma in ((1,) if case.head > 64 and case.length > 1024 else (0, 1))
        ]
    if case.kernel.startswith("key"):
        return [tuning.Settings(other, own, *rest) for own, other, *rest in found]
    return [tuning.Settings(own, other, *rest) for own, other, *rest in found]


def milliseconds(run: Callable[[], object]) -> float:
    """Median time of a run on the GPU; infinite if its blocks do not fit the GPU."""
    try:
        return float(do_bench(run, warmup=5, rep=20, return_mode="median"))
    except OutOfResources:
        return float("inf")


def tune(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tq: Tensor | None,
    tk: Tensor | None,
    tv: Tensor | None,
    *,
    causal: bool = False,
    timer: Callable[[Callable[[], object]], float] = milliseconds,
    among: Callable[[tuning.Case], list[tuning.Settings]] = candidates,
) -> dict[str, tuning.Settings]:
    """Find and record the fastest settings for tensors like these; takes minutes.

    Args:
        q: (B, H, Nq, D).
        k: (B, H, Nk, D).
        v: (B, H, Nk, D).
        tq: tangent of q, or None.
        tk: tangent of k, or None.
        tv: tangent of v, or None.
        causal: tune with the causal mask.
        timer: gives the time of a run.
        among: gives the settings to try for a kernel's case.

    Returns:
        The settings by kernel; `tuning.export` has them too from now on.

    Raises:
        TypeError, ValueError: what the kernels do not take.
    """
    check_inputs(q, k, v, tq, tk, tv)
    scale = default_scale(q, None)
    check_flash(q, scale, launch.INTERPRETED)
    inputs = launch.inputs_of(q, k, v, tq, tk, tv)
    options = launch.Options(scale, causal, False)
    found: dict[str, tuning.Settings] = {}

    def fastest(kernel: str, run: Callable[[tuning.Settings], object]) -> None:
        case = launch.case_of(kernel, inputs, options)
        tried = [tuning.choose(case), *among(case)]
        times = [timer(partial(run, settings)) for settings in tried]
        found[kernel] = tried[times.index(min(times))]
        tuning.record(case, found[kernel])

    fastest("forward", partial(launch.run_forward, inputs, options))
    saved = launch.run_forward(inputs, options, found["forward"])
    outputs = launch.Outputs(*saved, torch.randn_like(q), torch.randn_like(q))
    fastest("query", partial(launch.run_query_pass, inputs, outputs, options))
    _, _, sums = launch.run_query_pass(inputs, outputs, options, found["query"])
    grads = launch.empty_key_grads(inputs)
    for kernel in tuning.key_kernels(q.shape[3]):
        fastest(kernel, partial(launch.run_key_pass, kernel, inputs, outputs, sums, grads, options))
    return found
