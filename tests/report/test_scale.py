"""A large grid in the suite: 1,000 runs, handed over as DataFrames.

What 5,000 runs cost that are read from their files is in `tests/benchmarks/bench_report.py`.
"""

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.measured import PEAK

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = f"""
import sys
from pathlib import Path
from framework.report import analyse, write_report
from tests.report.synthetic import many_arms

grid = many_arms(200, seeds=5, scalar_points=100)
assert len(grid.runs) == 1000 and len(grid.frame) == 160 * len(grid.runs)
write_report(analyse(grid), Path(sys.argv[1]))
{PEAK}
"""


def test_a_thousand_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "report"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout) < 1
    assert (tmp_path / "report" / "report.html").stat().st_size < 6e6
