"""The training step next to the released code's: milliseconds, memory, time to the first step.

    python tests/benchmarks/bench_step.py [CASE[,CASE...] ...] [--output FILE] [--rehearse]
    python tests/benchmarks/bench_step.py --table FILE

Each case builds a run from gin as `launch/train.py` does, in a process of its own with an empty
compile cache, and takes whole steps: data, loss, gradient, optimizer and both averages. Cases given
as A,B start and compile together and then measure one after the other. The floor is the step's
matrix products at the 798 TFLOP/s that a large bf16 product reaches on an H100 or H200. Results are
written after each case, so that a call that is cut keeps what it has. Without arguments it is the
whole table, some six minutes on a GPU, the most important cases first.

`--rehearse` shrinks every case and says so in everything it writes: for a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(HERE),) if path not in sys.path]

from step_cases import CASES, GROUPS  # noqa: E402
from step_table import table  # noqa: E402

WINDOW = 2.0  # seconds in which packed runs count their steps


class Process:
    """A worker with its compile cache, its log and a time limit at which it is killed."""

    def __init__(self, name: str, folder: Path, arguments: argparse.Namespace) -> None:
        self.name, self.log = name, folder / "log"
        folder.mkdir(parents=True)
        command = [sys.executable, str(HERE / "step_worker.py"), name]
        command += ["--started", str(time.time()), *["--rehearse"] * arguments.rehearse]
        command += [word for binding in arguments.set for word in ("--set", binding)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env=os.environ
                | {
                    "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
                    "TRITON_CACHE_DIR": str(folder / "triton"),
                },
                cwd=HERE.parents[1],
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._clock = threading.Timer(arguments.limit, self.process.kill)
        self._clock.start()

    def ask(self, line: str = "") -> str:
        """Send a line, if any, and return the line that comes back.

        Raises:
            RuntimeError: the process ended instead.
        """
        try:
            if line:
                _open(self.process.stdin).write(f"{line}\n")
                _open(self.process.stdin).flush()
            answer = _open(self.process.stdout).readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"exit {self.process.wait()}: {self._last_words()}")
        return answer

    def warnings(self) -> list[str]:
        """Return what the worker said of compiling."""
        return [line for line in self.log.read_text().splitlines() if "train.compile" in line]

    def end(self) -> None:
        """End the worker, if it has not ended."""
        self._clock.cancel()
        self.process.kill()
        self.process.communicate()

    def _last_words(self) -> str:
        lines = self.log.read_text().strip().splitlines()
        killed = "over its time limit" if self.process.returncode == -9 else ""
        return " | ".join([killed, *lines[-12:]] if killed else lines[-12:])


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def measured(names: list[str], folder: Path, arguments: argparse.Namespace) -> Iterator[dict]:
    """Start cases together; when all are compiled, yield each one's result in turn."""
    workers = [Process(name, folder / name, arguments) for name in names]
    failures: dict[str, str] = {}
    try:
        for worker in workers:
            _attempt(worker, failures)
        for worker in workers:
            answer = "" if worker.name in failures else _attempt(worker, failures, "measure")
            if worker.name in failures:
                yield {"case": worker.name, "error": failures[worker.name]}
            else:
                yield json.loads(answer) | {"warnings": worker.warnings()}
            worker.end()
    finally:
        for worker in workers:
            worker.end()


def _attempt(worker: Process, failures: dict[str, str], line: str = "") -> str:
    try:
        return worker.ask(line)
    except RuntimeError as error:
        failures[worker.name] = str(error)
        return ""


def packed(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the steps a second of 1, 2, 4, ... runs that share the device."""
    runs = min(CASES[name].runs, 2) if arguments.rehearse else CASES[name].runs
    seconds = 0.2 if arguments.rehearse else WINDOW
    workers = [Process(name, folder / f"{name}_{i}", arguments) for i in range(runs)]
    rates: dict[str, float] = {}
    try:
        for worker in workers:
            worker.ask()
        count = 1
        while count <= runs:
            rates[str(count)] = sum(_together(workers[:count], seconds)) / seconds
            count *= 2
    except RuntimeError as error:
        return {"case": name, "error": str(error), "steps_per_second": rates}
    finally:
        for worker in workers:
            worker.end()
    return {"case": name, "steps_per_second": rates}


def _together(workers: list[Process], seconds: float) -> list[int]:
    for worker in workers:
        _open(worker.process.stdin).write(f"{seconds}\n")
        _open(worker.process.stdin).flush()
    return [int(worker.ask()) for worker in workers]


def results_of(group: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the results of a group's cases."""
    names = group.split(",")
    with tempfile.TemporaryDirectory(prefix="bench_step_") as folder:
        plain = [name for name in names if not CASES[name].runs]
        yield from measured(plain, Path(folder), arguments)
        for name in names:
            if CASES[name].runs:
                yield packed(name, Path(folder), arguments)


def main() -> int:
    """Run the cases and print the table; 1 if one failed or ran eager though it was to compile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", default=GROUPS, metavar="CASE[,CASE...]")
    parser.add_argument("--set", action="append", default=[], metavar="BINDING")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "step.json")
    parser.add_argument("--limit", type=float, default=200, help="seconds for a case")
    parser.add_argument("--rehearse", action="store_true", help="tiny, and labelled so")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print a file's table and leave")
    arguments = parser.parse_args()
    if arguments.table is not None:
        print(table(json.loads(arguments.table.read_text())))
        return 0
    unknown = {n for group in arguments.groups for n in group.split(",")} - CASES.keys()
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    for group in arguments.groups:
        for result in results_of(group, arguments):
            results.append(result | {"rehearsal": arguments.rehearse})
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")
            print(table(results[-1:]), file=sys.stderr, flush=True)
    print(table(results))
    return int(any("error" in r or r.get("fell_back") for r in results))


if __name__ == "__main__":
    sys.exit(main())
