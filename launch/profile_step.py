"""Show where a training step's time and memory go: launch/profile_step.py --gin gin/digits.gin.

Utilisation is the step's matrix products, counted with PyTorch's FLOP counter without running them
(attention as dense products), over its time and the GPU's dense bf16 rate by its datasheet.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from framework import command
from framework.errors import UserError
from framework.streams import Streams
from framework.training import compilation, cost
from framework.training.batches import Batches
from framework.training.experiment import Experiment
from framework.training.profiling import Profile, profile
from framework.training.trainer import Trainer

WARM_UP = 5
KINETO_SILENT = "6"  # above notes on its start and stop, and its errors, which are about GPUs


def program() -> None:
    """Profile the run that the options describe, without writing a run folder."""
    parser = command.parser(__doc__ or "")
    command.add_configuration_arguments(parser)
    parser.add_argument("--steps", type=int, default=10, help="steps to measure (default: 10)")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write a Chrome trace here")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        raise UserError(f"--steps {arguments.steps}: it has to be at least 1")
    if arguments.trace is not None and not arguments.trace.parent.is_dir():
        raise UserError(f"--trace {arguments.trace}: there is no such folder")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    experiment = Experiment.build(command.configuration(arguments).resolve())
    experiment.check()
    found = measured(experiment, arguments.steps, arguments.trace)
    print(json.dumps(found, indent=1) if arguments.json else table(found))


def measured(experiment: Experiment, steps: int, trace: Path | None) -> dict[str, Any]:
    """Return the profile of a step as data, with what follows from it."""
    train, device = experiment.train, experiment.device()
    with experiment.resolved.refusals():
        trainer = Trainer(train, device)
    batches = Batches(train.dataset, Streams(train.seed), train.batch_size, device)
    compiled = train.compile and compilation.compile_steps(trainer, batches.at(1))
    on_gpu = device.type == "cuda"
    if not on_gpu:
        os.environ.setdefault("KINETO_LOG_LEVEL", KINETO_SILENT)
    found = profile(trainer, batches, steps, WARM_UP, trace)
    name = torch.cuda.get_device_name(device) if on_gpu else "cpu"
    operations = cost.step_operations(train)
    return {
        "device": name,
        "compiled": compiled,
        "step_ms": found.milliseconds,
        "images_per_second": train.batch_size / found.milliseconds * 1e3,
        "matrix_operations": operations,
        "utilisation": _utilisation(operations, found, cost.peak_rate(name) if on_gpu else None),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "batch_size": train.batch_size,
        **(asdict(found) if on_gpu else _without_memory(asdict(found))),
    }


def _without_memory(found: dict[str, Any]) -> dict[str, Any]:
    """Return a profile that does not claim to have measured memory, which it does on GPUs only."""
    sections = [{**section, "kept_gb": None} for section in found["sections"]]
    return {**found, "sections": sections, "peak_gb": None, "reserved_gb": None}


def _utilisation(operations: int, found: Profile, peak: float | None) -> float | None:
    return None if peak is None else operations / (found.milliseconds / 1e3) / peak


def table(found: dict[str, Any]) -> str:
    """Return the profile as text."""
    share, how = found["utilisation"], "compiled" if found["compiled"] else "eager"
    used = "no datasheet rate known" if share is None else f"{share:.1%} of the datasheet's rate"
    measured_memory = found["peak_gb"] is not None
    memory = (
        f"peak {found['peak_gb']:.2f} GB allocated, {found['reserved_gb']:.2f} GB reserved"
        if measured_memory
        else "not measured on a CPU"
    )
    lines = [
        f"{found['device']}: {found['step_ms']:.2f} ms a step of {found['batch_size']}, "
        f"{found['images_per_second']:.1f} images/s, {how}",
        f"{found['matrix_operations'] / 1e12:.3f} TFLOP of matrix products a step: {used}",
        f"memory: {memory}",
        "",
        f"{'section':<16}{'ms':>10}{'share':>8}" + f"{'kept GB':>10}" * measured_memory,
    ]
    total = sum(section["milliseconds"] for section in found["sections"])
    for section in found["sections"]:
        time = section["milliseconds"]
        kept = f"{section['kept_gb']:>10.2f}" if measured_memory else ""
        lines.append(f"{section['name']:<16}{time:>10.2f}{time / total:>8.1%}{kept}")
    lines += ["", f"{'ms':>10}{'calls':>8}  costliest kernels of a step"]
    for kernel in found["kernels"]:
        shown = kernel["name"] if len(kernel["name"]) <= 80 else kernel["name"][:77] + "..."
        lines.append(f"{kernel['milliseconds']:>10.2f}{kernel['calls']:>8.0f}  {shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    command.main(program)
