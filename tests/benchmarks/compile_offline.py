"""The kernels compiled for Hopper on a machine without a GPU: registers, spills, wgmma.

    python -m tests.benchmarks.compile_offline 1,24,8192,128 [--kernel key_k] [--dtype float32]
        [--causal] [--settings 32,128,8,3,1]

A line for each kernel of the shape (B,H,N,D): registers, stack (bytes spilled), shared memory
(232,448 bytes are there), the shapes of its wgmma products (S: left operand in shared memory, R:
in registers) and float64 products. Kernel `hopper` is the key pass in Gluon. `--settings` is
block_m,block_n,warps,stages,tma, repeatable; without it the built-in ones. Results hold for the
Triton that compiles: put the GPU machine's version first on PYTHONPATH (pip install --target).
"""

import argparse
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from kernels import hopper, launch, layouts, tuning

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


class Hopper:
    """What Triton asks of a driver before it compiles."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def without_gpu() -> None:
    """Compile for Hopper from now on in this process, whatever is there; nothing can run."""
    driver.set_active(Hopper())
    launch.describable = lambda x: True


class CompileOnly:
    """A kernel whose launches compile it and keep the result."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.compiled: Any = None

    def __getitem__(self, grid: tuple[int]) -> Any:
        def compile_it(*arguments: Any, **options: Any) -> None:
            self.compiled = self.kernel.warmup(*arguments, grid=grid, **options)

        return compile_it


def resources(compiled: Any) -> str:
    """Registers, spills, shared memory and matrix instructions of a compiled kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(compiled.asm["cubin"])
        usage, code = (
            subprocess.run(
                [TOOLS / tool, flag, file.name], capture_output=True, text=True, check=True
            ).stdout
            for tool, flag in (("cuobjdump", "-res-usage"), ("nvdisasm", "-c"))
        )
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    registers, stack = found.groups() if found else ("?", "?")
    products = Counter(
        shape + ("R" if left.startswith("R") else "S")
        for shape, left in re.findall(r"HGMMA\.(\d+x\d+x\d+)\S*\s+R\d+, (\S+?),", code)
    )
    double = len(re.findall(r"\bDMMA\b", code))
    return (
        f"{registers:>3} registers, stack {stack:>4}, shared {compiled.metadata.shared:>6}, "
        f"wgmma {dict(products)}" + (f", {double} DMMA" if double else "")
    )


def compile_kernel(
    kernel: str, shape: tuple[int, ...], dtype: torch.dtype, causal: bool,
    settings: tuning.Settings,
) -> Any:  # fmt: skip
    """The compiled variant for contiguous tensors with all tangents and cotangents."""
    x = torch.empty(shape, dtype=dtype, device="meta")
    inputs = launch.inputs_of(x, x, x, x, x, x)
    options = launch.Options(shape[-1] ** -0.5, causal, False)
    compiler = CompileOnly(launch.FUNCTIONS[kernel])
    launch.FUNCTIONS[kernel] = compiler
    try:
        outputs = launch.Outputs(x, x, *layouts.empty_statistics(x), x, x)
        if kernel == "forward":
            launch.run_forward(inputs, options, settings)
        elif kernel == "query":
            launch.run_query_pass(inputs, outputs, options, settings)
        else:
            grads = launch.empty_key_grads(inputs)
            sums = (outputs.mu, outputs.mu)
            launch.run_key_pass(kernel, inputs, outputs, sums, grads, options, settings)
    finally:
        launch.FUNCTIONS[kernel] = compiler.kernel
    return compiler.compiled


def compile_hopper(shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    """The compiled key pass in Gluon."""
    x = torch.empty(shape, dtype=dtype, device="meta")
    lse, mu = layouts.empty_statistics(x)
    compiler = CompileOnly(hopper.kernel())
    hopper.kernel = lambda: compiler
    try:
        hopper.run((x,) * 10, (lse, mu, mu, mu), shape[-1] ** -0.5)
    finally:
        hopper.kernel = lambda: compiler.kernel
    return compiler.compiled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--kernel", choices=(*tuning.KERNELS, "hopper"), action="append")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--causal", action="store_true")
    parser.add_argument(
        "--settings", action="append", default=[],
        type=lambda text: tuning.Settings(*map(int, text.split(","))),
    )  # fmt: skip
    given = parser.parse_args()
    without_gpu()
    dtype = getattr(torch, given.dtype)
    D = given.shape[-1]
    for kernel in given.kernel or ("forward", "query", *tuning.key_kernels(D)):
        if kernel == "hopper":
            print(f"{kernel:24}{resources(compile_hopper(given.shape, dtype))}", flush=True)
            continue
        case = tuning.Case(
            kernel, "sm_90", dtype, launch.padded(D), tuning.length_class(given.shape[2]),
            given.causal, 3,
        )  # fmt: skip
        for settings in given.settings or [tuning.choose(case)]:
            compiled = compile_kernel(kernel, given.shape, dtype, given.causal, settings)
            numbers = ",".join(str(x) for x in vars(settings).values())
            print(f"{kernel:8}{numbers:16}{resources(compiled)}", flush=True)


if __name__ == "__main__":
    main()
