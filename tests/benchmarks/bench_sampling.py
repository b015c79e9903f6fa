"""Samples a second of XL/2 in bf16, compiled, as `launch/sample.py` draws them (latents).

    python tests/benchmarks/bench_sampling.py [--nfe 1 4] [--batches N] [--eager]
        [--cache DIR] [--output FILE] [--rehearse]

The floor of a batch is the matrix products of its evaluations at the 798 TFLOP/s that a large bf16
product reaches on an H100 or H200. Weights are random ones, and so are the samples: what they are
worth changes nothing in their cost. `--eager` measures plain passes too. Some 40 s on a GPU.

`--rehearse` shrinks everything and says so in everything it writes: for a CPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(HERE),) if path not in sys.path]

import building  # noqa: E402
import torch  # noqa: E402
from step_cases import CASES, gin_text  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from framework.passes import Inputs, Passes  # noqa: E402
from framework.training.compilation import WORTH_COMPILING, sampling_passes  # noqa: E402
from framework.training.experiment import Experiment  # noqa: E402
from framework.training.sampling import draw, field_of  # noqa: E402
from framework.training.trainer import as_module, build_model, construct_model  # noqa: E402

HEAD = ("case", "NFE", "batch", "images/s", "floor: images/s", "of the floor", "ms a batch",
        "peak GB")  # fmt: skip
WEIGHT = 2.0


class Run:
    """A run's network with weights that leave nothing at zero."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        bindings = ["train.compile = False"] * arguments.rehearse
        gin = gin_text(CASES["xl2"], [*bindings, *arguments.set], arguments.rehearse)
        self.experiment: Experiment = building.experiment_of(gin)
        self.device = self.experiment.device()
        self.network = build_model(self.experiment.train, self.device).requires_grad_(False)
        for parameter in self.network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        self.batch = 4 if arguments.rehearse else arguments.batch
        self.operations = operations(self.experiment, self.batch)

    def passes(self) -> Passes:
        """Return the passes of `launch/sample.py`, and compile them."""
        train = self.experiment.train
        return sampling_passes(self.network, train, self.device, self.batch, WORTH_COMPILING)

    def measured(self, passes: Passes, nfe: int, batches: int) -> dict[str, Any]:
        """Return what drawing so many batches takes."""
        train, sampler = self.experiment.train, self.experiment.evaluation.sampler
        field = field_of(self.network, train, self.device, passes)
        latents = torch.randn(self.batch * batches, *train.dataset.shape, device=self.device)
        classes = torch.arange(len(latents), device=self.device) % train.dataset.num_classes

        def drawn(count: int) -> None:
            z, c = latents[:count], classes[:count]
            draw(sampler, field, z, c, WEIGHT, nfe, self.batch)

        drawn(self.batch)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = self._seconds(lambda: drawn(len(latents)))
        floor = self.operations * nfe / building.REACHED_RATE
        return {
            "device": building.device_name(self.device),
            "torch": torch.__version__,
            "nfe": nfe,
            "batch": self.batch,
            "ms_a_batch": seconds / batches * 1e3,
            "images_per_second": len(latents) / seconds,
            "floor_images_per_second": self.batch / floor,
            "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if self._on_gpu else 0.0,
        }

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def _seconds(self, work: Callable[[], None]) -> float:
        self._wait()
        begun = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - begun

    def _wait(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()


def operations(experiment: Experiment, batch: int) -> int:
    """Return the operations of the matrix products of one evaluation of a batch."""
    train = experiment.train
    with torch.device("meta"):
        model = as_module(construct_model(train))
        t = torch.ones(batch)
        inputs = Inputs(torch.zeros(batch, *train.dataset.shape), t, t, t.long(), t)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        Passes().plain(model, inputs)
    return int(counter.get_total_flops())


def results_of(arguments: argparse.Namespace, results: building.Results) -> None:
    """Measure every NFE, compiled and, if asked, plainly."""
    run = Run(arguments)
    begun = time.perf_counter()
    passes, compiling = run.passes(), run.experiment.train.compile
    seconds = time.perf_counter() - begun
    if compiling and passes == Passes():
        results.add({"case": "compiled", "error": "it was not compiled: see above"})
    kinds = {"compiled" if compiling and passes != Passes() else "plain": passes}
    if arguments.eager:
        kinds["plain"] = Passes()
    for name, passes in kinds.items():
        for nfe in arguments.nfe:
            batches = 1 if arguments.rehearse else max(arguments.batches // nfe, 2)
            found = run.measured(passes, nfe, batches)
            results.add({"case": f"xl2 {name}", "seconds_to_compile": seconds, **found})


def table(results: list[dict[str, Any]]) -> str:
    """Return the results in Markdown."""
    rows = [
        (
            r["case"],
            str(r["nfe"]),
            str(r["batch"]),
            f"{r['images_per_second']:.1f}",
            f"{r['floor_images_per_second']:.0f}",
            f"{r['images_per_second'] / r['floor_images_per_second']:.1%}",
            f"{r['ms_a_batch']:.1f}",
            f"{r['peak_gb']:.1f}",
        )
        for r in results
        if "nfe" in r
    ]
    return building.table(results, HEAD, rows)


def main() -> int:
    """Measure and print the table; 1 if something failed."""
    parser = building.parser(__doc__.splitlines()[0], "sampling.json")
    parser.add_argument("--nfe", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--batches", type=int, default=16, help="to draw at one evaluation (16)")
    parser.add_argument("--eager", action="store_true", help="measure plain passes too")
    arguments = parser.parse_args()
    building.end_after(arguments.limit)
    results = building.Results(arguments.output, arguments.rehearse)
    with building.compile_caches(arguments.cache):
        results_of(arguments, results)
    print(table(results.all))
    return int(results.failed)


if __name__ == "__main__":
    sys.exit(main())
