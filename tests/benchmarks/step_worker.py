"""One case of bench_step.py in a process of its own.

It says `ready` when everything is compiled and waits for a line on standard input. A measured case
then prints its result as JSON. A packed one takes numbers of seconds, steps for that long and
prints how many steps that were, until its input ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(HERE.parents[1]), str(HERE)) if path not in sys.path]

import building  # noqa: E402
import torch  # noqa: E402
from step_cases import CASES, gin_text  # noqa: E402

from framework.garbage import uncollected  # noqa: E402
from framework.streams import Streams  # noqa: E402
from framework.training import compilation, cost, profiling  # noqa: E402
from framework.training.batches import Batches  # noqa: E402
from framework.training.trainer import Trainer  # noqa: E402

WARM_UP = 4


class Worker:
    """A trainer that has taken its first step."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.name, self.case = arguments.case, CASES[arguments.case]
        self.rehearsal = arguments.rehearse
        self.started, self.marks = arguments.started, {"imported": time.time()}
        self.gin = gin_text(self.case, arguments.set, arguments.rehearse)
        experiment = building.experiment_of(self.gin)
        train, self.device = experiment.train, experiment.device()
        meanwhile = compilation.compiler_starting() if train.compile else nullcontext()
        with uncollected(), meanwhile:
            self.trainer = Trainer(train, self.device)
        self.batches = Batches(train.dataset, Streams(train.seed), train.batch_size, self.device)
        self.marks["built"] = time.time()
        self.compiled = train.compile and compilation.compile_steps(
            self.trainer, self.batches.at(1)
        )
        self.marks["compiled"] = time.time()
        self.trainer.train_step(self.batches.at(1))
        self.first_loss = self.loss()  # waits for the device
        self.marks["first_step"] = time.time()
        self.operations = 0 if self.case.runs else cost.step_operations(train)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def loss(self) -> float:
        """Return the loss of the last step."""
        return self.trainer.recorder.means(self.trainer.step, 1)["loss/total"]

    def measured(self) -> dict[str, Any]:
        """Return what a step takes, and where."""
        train, operations = self.trainer.settings, self.operations
        steps = min(self.case.steps, 3) if self.rehearsal else self.case.steps
        found = profiling.profile(self.trainer, self.batches, steps, WARM_UP)
        on_gpu = self.device.type == "cuda"
        return {
            "case": self.name,
            "settings": self.gin.splitlines(),
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "torch": torch.__version__,
            "allocator": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""),
            "median_ms": found.milliseconds,
            "floor_ms": operations / building.REACHED_RATE * 1e3,
            "operations": operations,
            "seconds_from_process_start": {k: v - self.started for k, v in self.marks.items()},
            "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],
            "fell_back": train.compile and not self.compiled,
            "losses": [self.first_loss, self.loss()],
            **asdict(found),
        }

    def steps_in(self, seconds: float) -> int:
        """Return how many steps a stretch of time holds, and wait for the last of them."""
        first, end = self.trainer.step, time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(10):
                self.trainer.train_step(self.batches.at(self.trainer.step + 1))
            self.loss()
        return self.trainer.step - first


def main() -> None:
    """Say `ready`, and do as told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--started", type=float, required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--rehearse", action="store_true")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    worker = Worker(parser.parse_args())
    print("ready", flush=True)
    for line in sys.stdin:
        if line.startswith("measure"):
            print(json.dumps(worker.measured()), flush=True)
            return
        print(worker.steps_in(float(line)), flush=True)


if __name__ == "__main__":
    main()
