"""A grid of 1,000 arms x 5 seeds is reported in under 60 s and 2 GB.

The grid is synthetic and handed over as a DataFrame (800,000 rows); reading run files is measured
where `framework.results` is tested. Seconds are the processor's, lest a busy machine fail it.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import resource, sys, time
from pathlib import Path
from framework.report import analyse, write_report
from tests.report.synthetic import many_arms

grid = many_arms(1000, seeds=5, scalar_points=100)
assert len(grid.runs) == 5000 and len(grid.frame) == 800_000
begin = time.process_time()
write_report(analyse(grid), Path(sys.argv[1]))
print(time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def test_five_thousand_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "report"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, gigabytes = map(float, done.stdout.split())
    assert seconds < 60 and gigabytes < 2
    assert (tmp_path / "report" / "report.html").stat().st_size < 20e6
