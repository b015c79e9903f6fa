"""The fused norms and GELU on a GPU: time, and memory traffic beside what a copy reaches.

    python -m pytest tests/benchmarks/bench_norms.py --benchmark-only \\
        --benchmark-json tests/benchmarks/results/norms.json

At the sizes of a block of XL/2 with 32 images and of B/2 with 64, forwards and backwards, with
tangents and without. Traffic is what has to be read and written once. Times are medians of GPU
events around calls replayed from a graph, the cache cleared before each; the benchmark's rounds
hold one timed call each.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from kernels import gelu, head_norm, modulated_norm
from tests.benchmarks.gpu_times import MIB, median_milliseconds

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
SIZES = {"XL/2": (32, 256, 1152, 18), "B/2": (64, 256, 768, 12)}  # B, N, D, heads
EPS = 1e-6


class Call(NamedTuple):
    """An operation and its arguments; `unread` bytes of them are of no concern to it."""

    op: Callable[..., tuple[Tensor, ...]]
    args: tuple[object, ...]
    unread: int = 0

    def run(self) -> tuple[Tensor, ...]:
        return self.op(*self.args)

    def bytes(self) -> int:
        return sum(map(_bytes, (*self.args, *self.run()))) - self.unread


def _bytes(x: object) -> int:
    return x.numel() * x.element_size() if isinstance(x, Tensor) else 0


def draw(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(shape, device="cuda").to(dtype)


def of_modulated_norm(size: tuple[int, ...], dual: bool, backward: bool) -> Call:
    """A block's second norm: it adds a branch to the stream and leaves the sum to the next one."""
    B, N, D, _ = size
    x, tx, du, dtu = (draw(B, N, D, dtype=torch.float32) for _ in range(4))
    a, ta, dy, dty = (draw(B, N, D) for _ in range(4))
    vectors, tvectors = (draw(B, 6, D)[:, 2:5] for _ in range(2))
    pairs = ((x, tx), (a, ta), (None, None), (None, None), (vectors, tvectors))
    inputs = tuple(each if dual or not k else None for pair in pairs for k, each in enumerate(pair))
    if not backward:
        return Call(modulated_norm.forward_op, (*inputs, EPS, torch.bfloat16, False))
    cotangents = (du, dtu, dy, dty) if dual else (du, None, dy, None)
    return Call(modulated_norm.backward_op, (*inputs, *cotangents, EPS, True))


def of_head_norm(size: tuple[int, ...], dual: bool, backward: bool) -> Call:
    """Queries and keys of a joint projection, whose values are not read."""
    B, N, D, heads = size
    qkv, tqkv = draw(B, N, 3 * D), draw(B, N, 3 * D) if dual else None
    scale = torch.ones(D // heads, device="cuda")
    inputs, unread = (qkv, tqkv, scale, scale, heads), (_bytes(qkv) + _bytes(tqkv)) // 3
    if not backward:
        return Call(head_norm.forward_op, (*inputs, EPS), unread)
    cotangents = [draw(B, N, heads, D // heads) if dual or not k % 2 else None for k in range(6)]
    return Call(head_norm.backward_op, (*inputs, *cotangents, EPS), unread)


def of_gelu(size: tuple[int, ...], dual: bool, backward: bool) -> Call:
    """The hidden layer of a block's MLP."""
    B, N, D, _ = size
    z, tz, dh, dth = (draw(B, N, 4 * D) if dual or not k % 2 else None for k in range(4))
    return Call(gelu.backward_op, (z, tz, dh, dth, True)) if backward else Call(
        gelu.forward_op, (z, tz)
    )  # fmt: skip


def copy_rate() -> float:
    """Bytes a second that a copy within the device's memory moves."""
    a, b = (torch.empty(512 * MIB, dtype=torch.int8, device="cuda") for _ in range(2))
    return 2 * a.numel() / median_milliseconds(lambda: a.copy_(b)) * 1e3


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("dual", [False, True], ids=["plain", "tangents"])
@pytest.mark.parametrize("case", [of_modulated_norm, of_head_norm, of_gelu])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_traffic(benchmark, size, case, dual, backward):
    call = case(size, dual, backward)
    benchmark.pedantic(call.run, rounds=5, warmup_rounds=2)
    graph = torch.cuda.CUDAGraph()  # a launch from Python can take longer than the kernel
    with torch.cuda.graph(graph):
        call.run()
    milliseconds = median_milliseconds(graph.replay)
    rate = call.bytes() / milliseconds * 1e3
    benchmark.extra_info |= {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "gpu_ms": milliseconds,
        "mib": call.bytes() / MIB,
        "terabytes_per_second": rate / 1e12,
        "of_a_copy": rate / copy_rate(),
    }
