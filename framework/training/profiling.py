"""Where the time and memory of a training step go."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity

from framework.sections import collected, section
from framework.training.batches import Batches
from framework.training.trainer import Trainer

KERNELS = 10


@dataclass(frozen=True)
class Kernel:
    """A kernel (on a CPU, an operator) with its share of one step."""

    name: str
    milliseconds: float
    calls: float


@dataclass(frozen=True)
class Section:
    """A part of a step; `kept_gb` is what it left allocated on the GPU."""

    name: str
    milliseconds: float
    kept_gb: float


@dataclass(frozen=True)
class Profile:
    """Measurements of a step: medians over steps; `times` are each step's milliseconds."""

    times: list[float]
    sections: list[Section]
    kernels: list[Kernel]
    peak_gb: float
    reserved_gb: float

    @property
    def milliseconds(self) -> float:
        """The median step."""
        return median(self.times)


def timed_steps(trainer: Trainer, batches: Batches, steps: int) -> list[float]:
    """Return the milliseconds of each of some steps, on the device's own timeline."""
    if trainer.device.type != "cuda":
        marks = [time.perf_counter()]
        for _ in range(steps):
            trainer.train_step(batches.at(trainer.step + 1))
            marks.append(time.perf_counter())
        return [(b - a) * 1e3 for a, b in itertools.pairwise(marks)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    events[0].record()
    for event in events[1:]:
        trainer.train_step(batches.at(trainer.step + 1))
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in itertools.pairwise(events)]


def profile(
    trainer: Trainer, batches: Batches, steps: int, warm_up: int, trace: Path | None = None
) -> Profile:
    """Run some steps untouched, some by section and two under PyTorch's profiler.

    The three are apart because each instrument slows the step that it looks at. A trainer that
    replays CUDA graphs has no sections within its replay.
    """
    timed_steps(trainer, batches, warm_up)
    _reset_peak(trainer.device)
    times = timed_steps(trainer, batches, steps)
    peak, reserved = _peak_gb(trainer.device)
    return Profile(
        times=times,
        sections=_sections(trainer, batches, steps),
        kernels=_kernels(trainer, batches, 2, trace),
        peak_gb=peak,
        reserved_gb=reserved,
    )


def _sections(trainer: Trainer, batches: Batches, steps: int) -> list[Section]:
    with collected(trainer.device) as found:
        for _ in range(steps):
            with section("data"):
                batch = batches.at(trainer.step + 1)
            trainer.train_step(batch)
        with section("logging"):
            trainer.recorder.means(trainer.step, steps)
    _synchronize(trainer.device)
    kept = found.kept_bytes()
    return [
        Section(name, total / steps, kept[name] / 1e9)
        for name, total in found.milliseconds().items()
    ]


def _kernels(trainer: Trainer, batches: Batches, steps: int, trace: Path | None) -> list[Kernel]:
    on_gpu = trainer.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        timed_steps(trainer, batches, steps)
    if trace is not None:
        profiler.export_chrome_trace(str(trace))
    return _costliest(profiler.key_averages(), on_gpu, steps)


def _costliest(averages: Sequence[FunctionEventAvg], on_gpu: bool, steps: int) -> list[Kernel]:
    wanted = "CUDA" if on_gpu else "CPU"
    kernels = [
        Kernel(
            str(entry.key),
            (entry.self_device_time_total if on_gpu else entry.self_cpu_time_total) / steps / 1e3,
            entry.count / steps,
        )
        for entry in averages
        if entry.device_type.name == wanted and not entry.is_user_annotation
    ]
    return sorted(kernels, key=lambda kernel: -kernel.milliseconds)[:KERNELS]


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_gb(device: torch.device) -> tuple[float, float]:
    if device.type != "cuda":
        return 0.0, 0.0
    allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return allocated / 1e9, reserved / 1e9
