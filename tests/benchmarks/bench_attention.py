"""Attention with its JVP on a GPU: time, arithmetic rate and memory beside the alternatives.

    python -m pytest tests/benchmarks/bench_attention.py --benchmark-only \\
        --benchmark-json tests/benchmarks/results/attention.json

Each of the four shapes runs these kernels, torch's plain attention through cuDNN (times three is
equal efficiency: the arithmetic is three times as much) and dense attention with torch.func.jvp.
Times are medians of GPU events; the benchmark's rounds hold one timed call each.
"""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

import kernels
from tests.benchmarks.gpu_times import MIB, median_milliseconds

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
SHAPES = [(32, 18, 256, 64), (8, 18, 1024, 64), (1, 24, 8192, 64), (1, 24, 8192, 128)]
FORWARD_PRODUCTS, BACKWARD_PRODUCTS = 6, 21


def draw(shape: tuple[int, ...]) -> list[Tensor]:
    """q, k, v, tq, tk, tv (leaves), do, dto."""
    g = torch.Generator("cuda").manual_seed(0)
    xs = [torch.randn(shape, device="cuda", dtype=torch.bfloat16, generator=g) for _ in range(8)]
    return [x.requires_grad_() for x in xs[:6]] + xs[6:]


def fused(xs: list[Tensor]) -> tuple[Tensor, Tensor]:
    return kernels.attention_jvp(*xs[:6])


def dense(xs: list[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.func.jvp(kernels.dense_attention, tuple(xs[:3]), tuple(xs[3:6]))


def backward(run: Callable[[list[Tensor]], tuple[Tensor, Tensor]], xs: list[Tensor]) -> None:
    torch.autograd.grad(run(xs), xs[:6], xs[6:])


def plain(xs: list[Tensor]) -> None:
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        o = scaled_dot_product_attention(*xs[:3])
    torch.autograd.grad(o, xs[:3], xs[6])


def plain_forward(xs: list[Tensor]) -> Tensor:
    with torch.no_grad(), sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return scaled_dot_product_attention(*xs[:3])


def fused_forward(xs: list[Tensor]) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return fused(xs)


def dense_forward(xs: list[Tensor]) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return dense(xs)


RUNS: dict[str, Callable[[list[Tensor]], object]] = {
    "flash_jvp forward": fused_forward,
    "flash_jvp forward+backward": lambda xs: backward(fused, xs),
    "cudnn plain forward": plain_forward,
    "cudnn plain forward+backward": plain,
    "dense jvp forward": dense_forward,
    "dense jvp forward+backward": lambda xs: backward(dense, xs),
}


def peak_above_inputs(run: Callable[[list[Tensor]], object], xs: list[Tensor]) -> float:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run(xs)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / MIB


class GpuClock:
    """Seconds of GPU time, for pytest-benchmark: wall time, the GPU waited for."""

    def __call__(self) -> float:
        torch.cuda.synchronize()
        return time.perf_counter()


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_attention(benchmark, shape, name):
    xs = draw(shape)
    run = RUNS[name]
    benchmark._timer = GpuClock()
    benchmark.pedantic(run, args=(xs,), rounds=5, warmup_rounds=2)
    B, H, N, d = shape
    products = FORWARD_PRODUCTS + (BACKWARD_PRODUCTS if "backward" in name else 0)
    if "plain" in name:
        products = 2 + (5 if "backward" in name else 0)
    milliseconds = median_milliseconds(lambda: run(xs))
    benchmark.extra_info |= {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "gpu_ms": milliseconds,
        "tflops": 2 * B * H * N * N * d * products / milliseconds / 1e9,
        "peak_mib_above_inputs": peak_above_inputs(run, xs),
    }


def test_host_cost_of_a_forward(benchmark):
    """Microseconds that one forward keeps the host busy, at the shape of 256 tokens.

    Small tensors, so that the GPU keeps up and the queue never blocks the host.
    """
    xs = [x.detach() for x in draw((1, 1, 256, 64))]

    def hundred() -> None:
        for _ in range(100):
            kernels.attention_jvp(*xs[:6])

    hundred()
    torch.cuda.synchronize()
    benchmark.pedantic(hundred, rounds=20, warmup_rounds=3, setup=torch.cuda.synchronize)
    benchmark.extra_info["microseconds"] = benchmark.stats.stats.median * 1e4
