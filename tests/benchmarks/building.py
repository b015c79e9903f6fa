"""What the benchmarks of whole runs share: trainers built from gin, caches, results on disk."""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(HERE.parents[1]), str(HERE)) if path not in sys.path]

import random_latents  # noqa: E402, F401  registers the dataset
import torch  # noqa: E402
from step_table import REHEARSAL, markdown  # noqa: E402

from framework.configuration import Configuration  # noqa: E402
from framework.distribution import World  # noqa: E402
from framework.streams import Streams  # noqa: E402
from framework.training.batches import Batches  # noqa: E402
from framework.training.experiment import Experiment  # noqa: E402
from framework.training.trainer import Trainer  # noqa: E402

REACHED_RATE = 798e12
"""Operations a second of a large bf16 matrix product on an H100 or H200."""


def experiment_of(gin: str) -> Experiment:
    """Return what a gin text describes, built."""
    with tempfile.NamedTemporaryFile("w", suffix=".gin") as file:
        file.write(gin)
        file.flush()
        return Experiment.build(Configuration.load([Path(file.name)]).resolve())


def trainer_of(experiment: Experiment, world: World) -> tuple[Trainer, Batches]:
    """Return a trainer and its batches for a process of several, as `launch/train.py` does."""
    train, device = experiment.train, world.device(experiment.device())
    trainer = Trainer(train, device, world)
    return trainer, Batches(train.dataset, Streams(train.seed), train.batch_size, device, world)


def device_name(device: torch.device) -> str:
    """Return what the device calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def parser(description: str, output: str) -> argparse.ArgumentParser:
    """Return a parser of what all these benchmarks are asked for."""
    made = argparse.ArgumentParser(description=description)
    add = made.add_argument
    add("--set", action="append", default=[], metavar="BINDING")
    add("--cache", type=Path, metavar="DIR", help="compile caches that stay")
    add("--output", type=Path, default=HERE / "results" / output)
    add("--limit", type=float, default=120, help="seconds for a case")
    add("--rehearse", action="store_true", help="tiny, and labelled so")
    return made


def end_after(seconds: float) -> None:
    """End this process with a traceback unless it is done by then."""
    faulthandler.dump_traceback_later(seconds, exit=True)


@contextmanager
def compile_caches(folder: Path | None) -> Iterator[None]:
    """Let the processes that start in the context share caches: in a folder, or a temporary one."""
    with tempfile.TemporaryDirectory(prefix="compiled_") as temporary:
        root = folder.resolve() if folder is not None else Path(temporary)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(root / "inductor")
        os.environ["TRITON_CACHE_DIR"] = str(root / "triton")
        yield


class Results:
    """Results that are on disk, and on standard error, as soon as they are known."""

    def __init__(self, path: Path, rehearsal: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._rehearsal = path, rehearsal
        self.all: list[dict[str, Any]] = []

    def add(self, result: dict[str, Any]) -> None:
        """Write a result down."""
        self.all.append(result | {"rehearsal": self._rehearsal})
        self._path.write_text(json.dumps(self.all, indent=1) + "\n")
        print(json.dumps(_short(result)), file=sys.stderr, flush=True)

    @property
    def failed(self) -> bool:
        """Whether something did not work."""
        return any("error" in result for result in self.all)


def _short(result: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in result.items() if not isinstance(v, list | dict)}


def table(results: Sequence[dict[str, Any]], head: Sequence[str], rows: list) -> str:
    """Return a table under what it was measured with, and what failed."""
    lines = [REHEARSAL] * any(result["rehearsal"] for result in results)
    lines += sorted({f"{r['device']}, torch {r['torch']}" for r in results if "device" in r})
    lines += ["", *markdown([head, *rows])] if rows else []
    failures = [f"{r['case']}: FAILED: {r['error']}" for r in results if "error" in r]
    return "\n".join([*lines, *failures])
