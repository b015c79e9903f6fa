"""One GPU session for the attention kernels: what to tune, side by side, and what accuracy is left.

    python -m tests.benchmarks.compare_kernels [accuracy] [sums] [gluon] [host] [settings]

accuracy: the worst of the eight results against float64, by dtype and kind of input. sums: what
tensor cores' float32 sums lose, which bounds float16 with large logits. gluon: the key pass in
Gluon beside Triton's, their results compared. host: microseconds of the host by part of a call.
settings: every candidate of kernels.measure by kernel, milliseconds and ratio to the built-in one,
best first; a table for `kernels.tuning.load` goes to settings.json in $OUT (or here).
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from triton.testing import do_bench

import kernels
from kernels import launch, measure, tuning
from kernels.launcher import addresses
from tests.benchmarks.compile_offline import compile_kernel, without_gpu

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
# (B, H, Nq, Nk, D), factor of q and k
INPUTS = {
    "ordinary": ((2, 3, 300, 333, 64), 1.0),
    "x30": ((1, 4, 1024, 1024, 64), 30.0),
    "x30, d=128": ((1, 4, 1024, 1024, 128), 30.0),
    "x5": ((1, 4, 1024, 1024, 64), 5.0),
    "long rows": ((1, 1, 128, 16384, 64), 1.0),
    "1 x 5": ((2, 400, 1, 5, 64), 1.0),
}
# (B, H, N, D), dtype, causal
CASES = [
    ((1, 24, 8192, 128), BF16, False),
    ((1, 24, 8192, 64), BF16, False),
    ((8, 18, 1024, 64), BF16, False),
    ((32, 18, 256, 64), BF16, False),
    ((1, 24, 8192, 128), BF16, True),
    ((1, 24, 8192, 64), BF16, True),
    ((1, 12, 4096, 256), BF16, False),
    ((8, 18, 1024, 64), FP32, False),
]


def draw(
    shape: tuple[int, ...], dtype: torch.dtype, factor: float = 1.0, device: str = "cuda"
) -> list[Tensor]:
    """q, k, v, tq, tk, tv, do, dto for (B, H, Nq, Nk, D)."""
    B, H, Nq, Nk, D = shape
    g = torch.Generator(device).manual_seed(0)
    xs = [
        torch.randn(B, H, n, D, device=device, generator=g)
        for n in (Nq, Nk, Nk, Nq, Nk, Nk, Nq, Nq)
    ]
    return [(x * factor if i < 2 else x).to(dtype) for i, x in enumerate(xs)]


def milliseconds(run: Callable[[], object]) -> float:
    return float(do_bench(run, warmup=10, rep=60, return_mode="median"))


def accuracy() -> None:
    names = ("o", "to", "dq", "dk", "dv", "dtq", "dtk", "dtv")

    def results(attend: Callable[..., tuple[Tensor, Tensor]], xs: list[Tensor]) -> list[Tensor]:
        leaves = [x.detach().requires_grad_() for x in xs[:6]]
        outputs = attend(*leaves)
        return [*outputs, *torch.autograd.grad(outputs, leaves, xs[6:])]

    for dtype in (BF16, FP16, FP32):
        for name, (shape, factor) in INPUTS.items():
            xs = draw(shape, dtype, factor)
            found = results(kernels.attention_jvp, xs)
            exact = results(kernels.dense_attention_jvp, [x.double() for x in xs])
            errors = [((a - b).norm() / b.norm()).item() for a, b in zip(found, exact)]
            worst = "  ".join(f"{n} {e:.1e}" for n, e in zip(names, errors))
            print(f"{dtype!s:15} {name:11} worst {max(errors):.1e}   {worst}", flush=True)


def sums() -> None:
    """Error of q k^T in units of 2^-24 of the largest |q k^T| of its row."""
    for D in (64, 128):
        q, k, *_ = draw((1, 1, 2048, 2048, D), FP16, 30.0)
        exact = q[0, 0].double() @ k[0, 0].double().T
        found = torch.mm(q[0, 0], k[0, 0].T, out_dtype=torch.float32)
        off = (found - exact) / exact.abs().amax(1, keepdim=True) * 2**24
        print(f"sums of {D}: mean {off.mean():.2f}, rms {off.square().mean().sqrt():.2f} units")


def stage(
    shape: tuple[int, ...], dtype: torch.dtype, causal: bool, device: str = "cuda"
) -> tuple[launch.Inputs, launch.Outputs, tuple[Tensor, Tensor], launch.Options]:
    """What the passes of a case take, after one forward and one query pass."""
    B, H, N, D = shape
    xs = draw((B, H, N, N, D), dtype, device=device)
    inputs = launch.inputs_of(*xs[:6])
    options = launch.Options(D**-0.5, causal, False)
    outputs = launch.Outputs(*launch.run_forward(inputs, options), *xs[6:])
    return inputs, outputs, launch.run_query_pass(inputs, outputs, options)[2], options


def gluon() -> None:
    for shape in ((1, 2, 1024, 128), (8, 18, 1024, 128), CASES[0][0]):
        inputs, outputs, row_sums, options = stage(shape, BF16, False)
        usual = tuning.choose(launch.case_of("key_k", inputs, options))
        times, grads = {}, {}
        for name, chosen in (("Triton", usual), ("Gluon", None)):
            grads[name] = launch.empty_key_grads(inputs)
            run = partial(
                launch.run_key_pass, "key_k", inputs, outputs, row_sums, grads[name], options,
                chosen,
            )  # fmt: skip
            times[name] = milliseconds(run)
        pairs = list(zip(grads["Gluon"], grads["Triton"]))[:2]
        off = [((a - b).norm() / b.norm()).item() for a, b in pairs]
        said = " ".join(f"{time:8.3f} ms {name}" for name, time in times.items())
        print(f"{shape} key_k {said}, apart {' '.join(f'{x:.1e}' for x in off)}", flush=True)


def host() -> None:
    """Small tensors, so that the GPU keeps up and the queue never blocks the host."""
    xs = draw((1, 1, 256, 256, 64), BF16)
    leaves = [x.clone().requires_grad_() for x in xs[:6]]
    inputs = launch.inputs_of(*xs[:6])
    options = launch.Options(0.125, False, False)
    tuning.remembered.clear()
    outputs = launch.run_forward(inputs, options)
    plan = next(iter(tuning.remembered.values()))
    where = addresses(*inputs, *outputs)

    def backward() -> None:
        torch.autograd.grad(kernels.attention_jvp(*leaves), leaves, xs[6:])

    parts: dict[str, Callable[[], object]] = {
        "forward": lambda: kernels.attention_jvp(*xs[:6]),
        "forward, tracked": lambda: kernels.attention_jvp(*leaves),
        "forward and backward": backward,
        "run_forward": lambda: launch.run_forward(inputs, options),
        "launch": lambda: plan.launch(None, inputs, outputs, where),
        "allocation": lambda: torch.empty_like(xs[0]),
    }
    for name, part in parts.items():
        rounds = []
        for _ in range(20):
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(100):
                part()
            rounds.append((time.perf_counter() - begin) * 1e4)
        rounds.sort()
        print(f"{name:21} median {rounds[10]:6.1f} us, least {rounds[0]:6.1f}", flush=True)


def rank(shape: tuple[int, ...], dtype: torch.dtype, causal: bool) -> None:
    """Time and print the candidates of a case's kernels, and record the fastest."""
    inputs, outputs, row_sums, options = stage(shape, dtype, causal)
    grads = launch.empty_key_grads(inputs)

    def run(kernel: str, chosen: tuning.Settings) -> None:
        if kernel == "forward":
            launch.run_forward(inputs, options, chosen)
        elif kernel == "query":
            launch.run_query_pass(inputs, outputs, options, chosen)
        else:
            launch.run_key_pass(kernel, inputs, outputs, row_sums, grads, options, chosen)

    for kernel in ("forward", "query", *tuning.key_kernels(shape[-1])):
        case = launch.case_of(kernel, inputs, options)
        usual = tuning.built_in(case)
        times = {
            chosen: measure.milliseconds(partial(run, kernel, chosen))
            for chosen in (usual, *measure.candidates(case))
        }
        ranked = sorted(times, key=lambda chosen: times[chosen])
        for chosen in [*ranked[:4], usual]:
            numbers = ",".join(str(x) for x in vars(chosen).values())
            ratio = times[chosen] / times[usual]
            print(f"{kernel:8}{numbers:15}{times[chosen]:8.4f} ms {ratio:5.2f}", flush=True)
        tuning.record(case, ranked[0])


def compile_ahead() -> None:
    """Compile all candidates into Triton's cache, in as many processes as there are cores."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=spawn, initializer=without_gpu) as pool:
        for shape, dtype, causal in CASES:
            for kernel in ("forward", "query", *tuning.key_kernels(shape[-1])):
                case = tuning.Case(
                    kernel, torch.cuda.get_device_name(), dtype, launch.padded(shape[-1]),
                    tuning.length_class(shape[2]), causal, 3,
                )  # fmt: skip
                for chosen in (tuning.built_in(case), *measure.candidates(case)):
                    pool.submit(compile_only, kernel, shape, dtype, causal, chosen)


def compile_only(*arguments: Any) -> None:
    compile_kernel(*arguments)  # its result cannot be sent back


def settings() -> None:
    begin = time.perf_counter()
    compile_ahead()
    print(f"compiled in {time.perf_counter() - begin:.0f} s")
    for shape, dtype, causal in CASES:
        print(f"\n{shape} {dtype} {'causal' if causal else ''}")
        rank(shape, dtype, causal)
        file = Path(os.environ.get("OUT", ".")) / "settings.json"
        file.write_text(json.dumps(tuning.export(), indent=1))


PARTS = {"accuracy": accuracy, "sums": sums, "gluon": gluon, "host": host, "settings": settings}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
