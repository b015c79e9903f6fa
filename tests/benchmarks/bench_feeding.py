"""How latents in an HDF5 file keep up with training on them.

    python tests/benchmarks/bench_feeding.py [--entries N] [--kinds rate,step,shared]
        [--cache DIR] [--output FILE] [--rehearse]

A file of random numbers in the form of `launch/encode_latents.py` at ImageNet-256's size of an
entry (4x32x32, mean and std) is written to a temporary folder, so it lies in the system's memory:
what a disk adds is not measured.

`rate` is what `Latents.examples` returns a second, in one thread and in as many as `Batches` reads
with, and in two processes that share the file. `step` trains XL/2 (bf16, compiled, 32 images) from
the file and then from one batch that is held on the device: what lies between their means is the
time that a step waits for data, of which 2 % are allowed; beside it the time that the host
spends in making a batch, most of which the device does not see. `shared` is the same with two
processes, where there are two GPUs. Some 80 s on two GPUs with warm compile caches.

`--rehearse` shrinks everything and says so in everything it writes: for a CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(HERE),) if path not in sys.path]

import building  # noqa: E402
import h5py  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from step_cases import Case, dit, gin_text  # noqa: E402

from components.datasets.latents import Latents  # noqa: E402
from components.datasets.latents_file import FORMAT  # noqa: E402
from framework.distribution import joined  # noqa: E402
from framework.launching import ranks  # noqa: E402
from framework.protocols import Batch  # noqa: E402
from framework.streams import Streams  # noqa: E402
from framework.training import compilation  # noqa: E402
from framework.training.batches import READERS, Batches  # noqa: E402
from framework.training.profiling import timed_steps  # noqa: E402

KINDS = ("rate", "step", "shared")
SHAPE, CLASSES = (4, 32, 32), 1000
MEAN, STD = (0.86488, -0.27787343, 0.21616915, 0.3738409), (4.855, 5.319, 3.937, 3.987)
WARM_UP = 4
HEAD = ("case", "processes", "mean ms", "from a held batch", "waiting", "host ms", "images/s")


def write_file(path: Path, entries: int) -> None:
    """Write a whole file of latents; its checksum, which only `verify` reads, is made up."""
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name in ("mean", "std"):
            numbers = generator.random((entries, *SHAPE), np.float32)
            file.create_dataset(name, data=numbers.astype(np.float16))
        file["labels"] = np.arange(entries) % CLASSES
        file["sha256"] = np.frombuffer(b"0" * 64, np.uint8)
        file.attrs.update({"format": FORMAT, "num_classes": CLASSES})


def rate(path: Path, threads: int, seconds: float, batch: int = 32) -> float:
    """Return the examples a second that so many threads of this process read, in batches."""
    dataset = Latents(str(path), SHAPE[1], MEAN, STD, CLASSES)
    streams, end = Streams(0), time.monotonic() + seconds

    def read(thread: int) -> int:
        step = 0
        while time.monotonic() < end:
            step += 1
            u = streams.uniform(f"data{thread}", step, range(batch), 2)
            dataset.examples((u[:, 0] * len(dataset)).long(), u)
        return step * batch

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(read, range(threads))) / seconds


def measure_rates(path: Path, out: Path, arguments: argparse.Namespace) -> None:
    """Measure reading alone, by a process or by one of two."""
    seconds = 0.2 if arguments.rehearse else 1.0
    torch.set_num_threads(1)
    with joined() as world:
        found = {}
        for threads in (1, READERS):
            world.wait()
            found[threads] = sum(world.everyones(rate(path, threads, seconds)))
        if world.leads:
            out.write_text(json.dumps(found))


def measure_steps(path: Path, out: Path, arguments: argparse.Namespace) -> None:
    """Measure training from the file and from a held batch, in a process of one or two."""
    building.end_after(arguments.limit)
    with joined() as world:
        experiment = building.experiment_of(settings(path, world.size, arguments))
        trainer, batches = building.trainer_of(experiment, world)
        if experiment.train.compile and not compilation.compile_steps(trainer, batches.at(1)):
            raise RuntimeError("the step was not compiled")
        steps = 3 if arguments.rehearse else arguments.steps
        timed_steps(trainer, batches, WARM_UP)
        fed, unfed = Timed(batches), Timed(batches, batches.at(1))
        from_file = fmean(timed_steps(trainer, fed, steps))
        held = fmean(timed_steps(trainer, unfed, steps))
        everyones = world.everyones((from_file, held, fmean(fed.milliseconds)))
        if world.leads:
            slowest, without, busiest = (max(values) for values in zip(*everyones, strict=True))
            out.write_text(
                json.dumps(
                    {
                        "device": building.device_name(trainer.device),
                        "torch": torch.__version__,
                        "mean_ms": slowest,
                        "held_ms": without,
                        "waiting_share": (slowest - without) / slowest,
                        "host_ms": busiest,
                        "images_per_second": experiment.train.batch_size / slowest * 1e3,
                    }
                )
            )


class Timed:
    """Batches, or one that is held, and the milliseconds that the host took to make each."""

    def __init__(self, batches: Batches, held: Batch | None = None) -> None:
        self._batches, self._held = batches, held
        self.milliseconds: list[float] = []

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        begun = time.perf_counter()
        batch = self._held or self._batches.at(step)
        self.milliseconds.append((time.perf_counter() - begun) * 1e3)
        return batch


def settings(path: Path, processes: int, arguments: argparse.Namespace) -> str:
    """Return the run's gin: XL/2 on the file."""
    images = 4 if arguments.rehearse else 32
    case = Case(
        (
            *dit(1152, 28, 18),
            "train.dataset = @datasets.latents()",
            f"datasets.latents.path = {str(path)!r}",
            f"datasets.latents.resolution = {SHAPE[1]}",
            f"datasets.latents.mean = {MEAN}",
            f"datasets.latents.std = {STD}",
        )
    )
    extra = ["train.compile = False"] * arguments.rehearse
    extra += [f"train.batch_size = {images * processes}", *arguments.set]
    return gin_text(case, extra, arguments.rehearse)


def results_of(kind: str, path: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the results of a kind of case."""
    if kind == "shared" and torch.cuda.device_count() < 2 and not arguments.rehearse:
        print("shared: skipped, needs two GPUs", file=sys.stderr)
        return
    measure = measure_rates if kind == "rate" else measure_steps
    for count in {"rate": (1, 2), "step": (1,), "shared": (2,)}[kind]:
        with output_file() as out:
            code = ranks.together(count, lambda out=out: measure(path, out, arguments))
            written = json.loads(out.read_text()) if out.exists() else {}
        found: dict[str, Any] = {"case": kind, "processes": count}
        if code or not written:
            yield found | {"error": f"exit {code}: see above"}
        elif kind == "rate":
            for threads, value in written.items():
                yield found | {"case": f"rate, {threads} threads each", "images_per_second": value}
        else:
            yield found | written


@contextmanager
def output_file() -> Iterator[Path]:
    """Give a place for what a process finds."""
    with tempfile.TemporaryDirectory(prefix="bench_feeding_") as folder:
        yield Path(folder) / "result.json"


def table(results: list[dict[str, Any]]) -> str:
    """Return the results in Markdown."""
    rows = [
        (
            r["case"],
            str(r["processes"]),
            *(
                (f"{r['mean_ms']:.1f}", f"{r['held_ms']:.1f}", f"{r['waiting_share']:.1%}")
                if "held_ms" in r
                else ("", "", "")
            ),
            f"{r['host_ms']:.2f}" if "host_ms" in r else "",
            f"{r['images_per_second']:.0f}",
        )
        for r in results
        if "images_per_second" in r
    ]
    return building.table(results, HEAD, rows)


def main() -> int:
    """Measure all kinds and print the table; 1 if one failed."""
    parser = building.parser(__doc__.splitlines()[0], "feeding.json")
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--kinds", default="rate,step,shared")
    parser.add_argument("--steps", type=int, default=24)
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds.split(",")) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    results = building.Results(arguments.output, arguments.rehearse)
    with (
        building.compile_caches(arguments.cache),
        tempfile.TemporaryDirectory(prefix="bench_feeding_") as folder,
    ):
        path = Path(folder) / "latents.h5"
        begun = time.perf_counter()
        write_file(path, 500 if arguments.rehearse else arguments.entries)
        print(f"wrote the file in {time.perf_counter() - begun:.1f} s", file=sys.stderr)
        for kind in arguments.kinds.split(","):
            for result in results_of(kind, path, arguments):
                results.add(result)
    print(table(results.all))
    return int(results.failed)


if __name__ == "__main__":
    sys.exit(main())
