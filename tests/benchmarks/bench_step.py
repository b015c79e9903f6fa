"""The training step next to the released code's: milliseconds, memory, time to the first step.

    python tests/benchmarks/bench_step.py [CASE ...] [--output FILE]

Each case builds a run from gin as `launch/train.py` does, in a process of its own with an empty
compile cache, and takes whole steps: data, loss, gradient, optimizer and both averages. Cases that
are given as A,B start and compile together and then measure one after the other. The floor is the
step's matrix products at the 798 TFLOP/s that a large bf16 product reaches on an H100 or H200.
`--tiny` shrinks every case for a rehearsal on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [path for path in (str(REPOSITORY), str(HERE)) if path not in sys.path]

REACHED_RATE = 798e12


@dataclass(frozen=True)
class Case:
    """A size and a method; (milliseconds, GB) of the released code and what is to be reached."""

    settings: tuple[str, ...]
    released: tuple[float, float] | None = None
    reach: tuple[float, float] | None = None
    steps: int = 12


def dit(hidden: int, depth: int, heads: int) -> tuple[str, ...]:
    """Return the bindings of a transformer's size."""
    sizes = {"hidden_size": hidden, "depth": depth, "num_heads": heads}
    return tuple(f"models.dit.{name} = {value}" for name, value in sizes.items())


def latents(size: int, batch: int) -> tuple[str, ...]:
    """Return the bindings of random latents."""
    return (f"datasets.random_latents.size = {size}", f"train.batch_size = {batch}")


XL = dit(1152, 28, 18)
SMALL = (*dit(48, 3, 3), "datasets.random_latents.channels = 1", *latents(8, 64))
PLAIN = ("guidances.constant.weight = 1.0",)
CASES = {
    "xl2": Case((*XL, *latents(32, 32)), (985, 71.9), (235, 36)),
    "xl2_512": Case((*XL, *latents(64, 8)), (1049, 71.8), (250, 36)),
    "b2": Case((*dit(768, 12, 12), *latents(32, 64)), (529, 35.7), (90, 18)),
    "xl2_detached": Case(
        (*XL, *latents(32, 32), "losses.tvm.detach_jvp = True"), (738, 53.2), (190, 28)
    ),
    "xl2_mean_flow": Case(
        (
            *XL,
            *latents(32, 32),
            *PLAIN,
            "train.loss = @losses.mean_flow()",
            "losses.mean_flow.time_sampler = @time_samplers.gap_star()",
            "losses.mean_flow.guidance = @guidances.constant()",
        )
    ),
    "xl2_flow_matching": Case(
        (
            *XL,
            *latents(32, 32),
            *PLAIN,
            "train.loss = @losses.flow_matching()",
            "losses.flow_matching.time_sampler = @time_samplers.gap_star()",
            "losses.flow_matching.guidance = @guidances.constant()",
            "losses.flow_matching.flow_map = @flow_maps.scaled()",
        )
    ),
    "small_eager": Case((*SMALL, "train.compile = False"), steps=100),
    "small": Case(SMALL, steps=300),
    "small_graphs": Case((*SMALL, "train.cuda_graphs = True"), steps=300),
    "small_eager_graphs": Case(
        (*SMALL, "train.cuda_graphs = True", "train.compile = False"), steps=300
    ),
}
TINY = (*dit(48, 2, 3), "train.batch_size = 4")


def gin_text(case: Case, extra: list[str], tiny: bool) -> str:
    """Return a run's configuration: the paper's settings at the case's size."""
    lines = {
        "train.dataset": "@datasets.random_latents()",
        "train.steps": "100000",
        "train.precision": "'bf16'",
        "train.compile": "True",
        "guidances.constant.weight": "2.0",
        "evaluation.metrics": "()",
    }
    for binding in (*case.settings, *(TINY if tiny else ()), *extra):
        name, _, value = binding.partition("=")
        lines[name.strip()] = value.strip()
    return "\n".join(["include 'gin/defaults.gin'", *(f"{n} = {v}" for n, v in lines.items())])


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one case in this process."""
    import random_latents  # noqa: F401  registers the dataset
    import torch

    from framework.configuration import Configuration
    from framework.streams import Streams
    from framework.training import compilation, cost, profiling
    from framework.training.batches import Batches
    from framework.training.experiment import Experiment
    from framework.training.trainer import Trainer

    case, marks = CASES[name], {"imported": time.time()}
    with tempfile.NamedTemporaryFile("w", suffix=".gin") as file:
        file.write(gin_text(case, arguments.set, arguments.tiny))
        file.flush()
        experiment = Experiment.build(Configuration.load([Path(file.name)]).resolve())
    train, device = experiment.train, experiment.device()
    trainer = Trainer(train, device)
    batches = Batches(train.dataset, Streams(train.seed), train.batch_size, device)
    marks["built"] = time.time()
    if train.compile:
        compilation.compile_steps(trainer, batches.at(1))
    marks["compiled"] = time.time()
    trainer.train_step(batches.at(1))
    loss = trainer.recorder.means(1, 1)["loss/total"]  # waits for the device
    marks["first_step"] = time.time()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    operations = cost.step_operations(train)
    _turn()
    steps = min(case.steps, 3) if arguments.tiny else case.steps
    found = profiling.profile(trainer, batches, steps, warm_up=4)
    return {
        "case": name,
        "settings": gin_text(case, arguments.set, arguments.tiny).splitlines(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "median_ms": found.milliseconds,
        "floor_ms": operations / REACHED_RATE * 1e3,
        "operations": operations,
        "seconds_from_process_start": {k: v - arguments.started for k, v in marks.items()},
        "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],
        "losses": [loss, trainer.recorder.means(trainer.step, 1)["loss/total"]],
        "released_ms_gb": case.released,
        "reach_ms_gb": case.reach,
        **asdict(found),
    }


def _turn() -> None:
    """Say that everything is compiled, and wait until it is this case's turn to measure."""
    print("ready", file=sys.stderr, flush=True)
    sys.stdin.readline()


def start(name: str, arguments: argparse.Namespace, cache: Path) -> subprocess.Popen[str]:
    """Start a case in its own process with an empty compile cache."""
    environment = os.environ | {
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
    }
    command = [sys.executable, __file__, name, "--worker", "--started", str(time.time())]
    command += ["--tiny"] * arguments.tiny
    for binding in arguments.set:
        command += ["--set", binding]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, cwd=REPOSITORY, text=True, **pipes)


def run_group(names: list[str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Start cases together; when all are compiled, let them measure in turn."""
    with tempfile.TemporaryDirectory(prefix="bench_step_") as folder:
        workers = {name: start(name, arguments, Path(folder, name)) for name in names}
        try:
            errors = {name: _until_ready(worker.stderr) for name, worker in workers.items()}
            return [_result(n, w, errors[n], arguments) for n, w in workers.items()]
        finally:
            for worker in workers.values():
                worker.kill()


def _until_ready(stderr: TextIO | None) -> list[str]:
    """Return what a worker says before it is ready; it may end instead."""
    said: list[str] = []
    for line in stderr or ():
        if line == "ready\n":
            break
        said.append(line)
    return said


def _result(
    name: str, worker: subprocess.Popen[str], said: list[str], arguments: argparse.Namespace
) -> dict[str, Any]:
    left = max(1.0, arguments.started + arguments.limit - time.time())
    try:
        out, more = worker.communicate("go\n", timeout=left)
    except (subprocess.TimeoutExpired, BrokenPipeError) as error:
        return {"case": name, "error": repr(error), "said": said[-20:]}
    warnings = [line for line in said if "train.compile" in line]
    if worker.returncode:
        return {"case": name, "error": (said + more.splitlines(True))[-12:]}
    return json.loads(out.splitlines()[-1]) | {"warnings": warnings}


def line(result: dict[str, Any]) -> str:
    """Return a result as a line of the table."""
    if "error" in result:
        return f"{result['case']:<20} {''.join(result['error'])}"
    released, reach = (
        f"{pair[0]:6.0f} ms {pair[1]:5.1f} GB" if pair else f"{'-':>18}"
        for pair in (result["released_ms_gb"], result["reach_ms_gb"])
    )
    seconds = result["seconds_from_process_start"]
    return (
        f"{result['case']:<20} {result['median_ms']:8.2f} ms {result['peak_gb']:5.1f} GB"
        f"   first step {seconds['first_step']:5.1f} s   floor {result['floor_ms']:6.1f} ms"
        f"   released {released}   reach {reach}"
        f"   {result['graphs']} compiled graphs {''.join(result['warnings'])}"
    )


def main() -> int:
    """Run the cases and print the table; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE[,CASE...]")
    parser.add_argument("--set", action="append", default=[], metavar="BINDING")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "step.json")
    parser.add_argument("--limit", type=float, default=1800, help="seconds for everything")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.cases[0], arguments)))
        return 0
    results = []
    for group in arguments.cases:
        results += run_group(group.split(","), arguments)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")
        if time.time() > arguments.started + arguments.limit:
            break
    print("\n".join(line(result) for result in results))
    return int(any("error" in result for result in results))


if __name__ == "__main__":
    sys.exit(main())
