"""What a program costs in a process of its own: wall time, processor time, peak of memory.

The peak is VmHWM, which the process reads of itself at its end: a child's `ru_maxrss` begins at
the size of the process that started it, here a whole test run. On a machine that others use, the
processor's seconds are what a quiet one would take of the wall's.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PEAK = r"""
import re
from pathlib import Path
print(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e9)
"""
"""A program that prints the gigabytes that its process took at most."""

_PROGRAM = f"""
import atexit, os, runpy, sys

def told():
    sys.stdout = sys.stderr
    print(sum(os.times()[:2]))
    exec({PEAK!r})

atexit.register(told)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Cost:
    """Seconds on the wall and of the processor, and gigabytes at most."""

    wall: float
    processor: float
    gigabytes: float


def run(program: Path, *arguments: object) -> Cost:
    """Run a Python program from the root of the repository, as a user does."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, program, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wall = time.monotonic() - begin
    processor, gigabytes = map(float, done.stderr.split()[-2:])
    return Cost(wall, processor, gigabytes)
