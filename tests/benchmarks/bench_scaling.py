"""How a training step scales: one process against several, as replicas and in shards.

    python tests/benchmarks/bench_scaling.py [--size xl2|b2] [--kinds one,ddp,fsdp,apart]
        [--processes N] [--cache DIR] [--output FILE] [--rehearse]
    python tests/benchmarks/bench_scaling.py --table FILE

Each process sees as many images as the single one (XL/2: 32, B/2: 64), so that perfect scaling is N
times its images a second at its step's time. Steps are whole ones: data, loss, gradient, optimizer
and both averages, in bf16, compiled, replayed from CUDA graphs, which shards cannot be.
`apart` are N processes that train on their own at the same time: what the machine allows at best.
All share the compile caches, which the first one fills. Results are written after each case. Some
150 s on two GPUs.

`--rehearse` shrinks everything and says so in everything it writes: for a CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(HERE),) if path not in sys.path]

import building  # noqa: E402
import torch  # noqa: E402
from step_cases import CASES, gin_text  # noqa: E402

import framework.distribution.sharded  # noqa: E402, F401  takes long; forked after it
from framework.distribution import ALONE, joined  # noqa: E402
from framework.launching import ranks  # noqa: E402
from framework.training import compilation, profiling  # noqa: E402

KINDS = ("one", "ddp", "fsdp", "apart")
IMAGES = {"xl2": 32, "b2": 64}
WARM_UP = 4
HEAD = ("case", "GPUs", "images a GPU", "median ms", "images/s", "times one GPU", "GB a GPU")


def measure(kind: str, out: Path, arguments: argparse.Namespace) -> None:
    """Measure a case in a process of it; the first one writes what all found."""
    building.end_after(arguments.limit)
    if arguments.rehearse:
        torch.set_num_threads(1)
    with joined() as world:
        experiment = building.experiment_of(settings(kind, world.size, arguments))
        world.device(experiment.device())  # also where each trains on its own
        trainer, batches = building.trainer_of(experiment, ALONE if kind == "apart" else world)
        compiled = experiment.train.compile
        if compiled and not compilation.compile_steps(trainer, batches.at(1)):
            raise RuntimeError("the step was not compiled")
        if trainer.device.type == "cuda":
            torch.cuda.empty_cache()
        world.wait()
        found = profiling.profile(trainer, batches, arguments.steps, WARM_UP)
        everyones = world.everyones((found.milliseconds, found.reserved_gb))
        if world.leads:
            out.write_text(json.dumps(result(kind, arguments, trainer.device, found, everyones)))


def result(
    kind: str,
    arguments: argparse.Namespace,
    device: torch.device,
    found: profiling.Profile,
    everyones: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """Return what is written of a case: the slowest process's median step counts."""
    milliseconds = max(each for each, _ in everyones)
    images = 4 if arguments.rehearse else IMAGES[arguments.size]
    return {
        "case": f"{arguments.size} {kind}",
        "kind": kind,
        "device": building.device_name(device),
        "torch": torch.__version__,
        "processes": len(everyones),
        "images_a_process": images,
        "median_ms": milliseconds,
        "images_per_second": images * len(everyones) / milliseconds * 1e3,
        "reserved_gb": max(each for _, each in everyones),
        "medians_ms": [each for each, _ in everyones],
        "times_ms": found.times,
        "sections_ms": {s.name: s.milliseconds for s in found.sections},
        "kernels": [(k.name[:80], k.milliseconds, k.calls) for k in found.kernels],
    }


def settings(kind: str, processes: int, arguments: argparse.Namespace) -> str:
    """Return the run's gin: a global batch that gives each process its images."""
    images = 4 if arguments.rehearse else IMAGES[arguments.size]
    together = 1 if kind == "apart" else processes
    extra = [f"train.batch_size = {images * together}"]
    if kind == "fsdp":
        extra += ["train.distribution = 'fsdp'", "train.cuda_graphs = False"]
    extra += ["train.compile = False"] * arguments.rehearse
    return gin_text(CASES[arguments.size], [*extra, *arguments.set], arguments.rehearse)


def measured(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a case's result, or what went wrong with it."""
    count = 1 if kind == "one" else arguments.processes
    with tempfile.TemporaryDirectory(prefix="bench_scaling_") as folder:
        out = Path(folder) / "result.json"
        code = ranks.together(count, lambda: measure(kind, out, arguments))
        if code or not out.exists():
            return {"case": f"{arguments.size} {kind}", "error": f"exit {code}: see above"}
        return json.loads(out.read_text())


def table(results: list[dict[str, Any]]) -> str:
    """Return the results in Markdown."""
    good = [r for r in results if "median_ms" in r]
    ones = [r["images_per_second"] for r in good if r["kind"] == "one"]
    rows = [
        (
            r["case"],
            str(r["processes"]),
            str(r["images_a_process"]),
            f"{r['median_ms']:.1f}",
            f"{r['images_per_second']:.1f}",
            f"{r['images_per_second'] / ones[0]:.2f}" if ones else "",
            f"{r['reserved_gb']:.1f}" if "reserved_gb" in r else "",
        )
        for r in good
    ]
    return building.table(results, HEAD, rows)


def main() -> int:
    """Measure all kinds and print the table; 1 if one failed."""
    parser = building.parser(__doc__.splitlines()[0], "scaling.json")
    parser.add_argument("--size", choices=IMAGES, default="xl2")
    parser.add_argument("--kinds", default="one,ddp,fsdp")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--table", type=Path, metavar="FILE", help="print a file's table and leave")
    arguments = parser.parse_args()
    if arguments.table is not None:
        print(table(json.loads(arguments.table.read_text())))
        return 0
    if unknown := set(arguments.kinds.split(",")) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    results = building.Results(arguments.output, arguments.rehearse)
    with building.compile_caches(arguments.cache):
        for kind in arguments.kinds.split(","):
            results.add(measured(kind, arguments))
    print(table(results.all))
    return int(results.failed)


if __name__ == "__main__":
    sys.exit(main())
