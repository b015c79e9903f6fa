"""Large grids: 1,000 runs in the suite; 1,000 arms x 5 seeds with `--benchmark-only`.

The grids are synthetic and handed over as DataFrames: reading run files is measured where
`framework.results` is tested. The peak of memory is VmHWM: a child's `ru_maxrss` begins at the
size of the process that started it, here a whole test run.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import re, sys, time
from pathlib import Path
from framework.report import analyse, write_report
from tests.report.synthetic import many_arms

grid = many_arms(int(sys.argv[1]), seeds=5, scalar_points=100)
assert len(grid.runs) == 5 * int(sys.argv[1]) and len(grid.frame) == 160 * len(grid.runs)
begin = time.process_time()
write_report(analyse(grid), Path(sys.argv[2]))
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(time.process_time() - begin, int(peak[1]) / 2**20)
"""


def report(arms: int, output: Path) -> tuple[float, float]:
    """Return the processor's seconds and the gigabytes that a report took."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(arms), output],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, gigabytes = map(float, done.stdout.split())
    return seconds, gigabytes


def test_a_thousand_runs(tmp_path):
    _, gigabytes = report(200, tmp_path / "report")
    assert gigabytes < 1
    assert (tmp_path / "report" / "report.html").stat().st_size < 6e6


def test_a_thousand_arms_of_five_seeds(tmp_path, benchmark):
    seconds, gigabytes = benchmark.pedantic(report, (1000, tmp_path / "report"), rounds=1)
    benchmark.extra_info.update(seconds=seconds, gigabytes=gigabytes)
    assert seconds < 60 and gigabytes < 2
