"""What reading and reporting a large grid costs, from run folders that `RunWriter` wrote.

Run with `python -m pytest tests/benchmarks/bench_report.py --benchmark-only -s`; writing 5,000 runs
takes some minutes, which are not measured. The limits are those that users are promised: 60 s and
2 GB for the report of 1,000 arms x 5 seeds, 10 s to load 1,000 runs. They are held against the
processor's seconds, which other users of the machine change least.
"""

from dataclasses import asdict

import pytest

from tests.benchmarks.measured import ROOT, run
from tests.benchmarks.stored_runs import ROWS, write_grid

pytestmark = pytest.mark.timeout(3600)  # writing waits for the disk 20,000 times

LOADING = """
import sys
from framework.results import load

runs, rows = map(int, sys.argv[2:])
frame = load(sys.argv[1])
assert frame["run"].nunique() == runs and len(frame) == runs * rows
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "large"
    write_grid(directory, 1000, 5)
    return directory


def measure(benchmark, *arguments):
    costs = []
    benchmark.pedantic(lambda: costs.append(run(*arguments)), rounds=1)
    benchmark.extra_info.update(asdict(costs[0]))
    print(f"\n{arguments[0].name}: {costs[0]}")
    return costs[0]


def test_reporting_a_thousand_arms_of_five_seeds(benchmark, large, tmp_path):
    report = ROOT / "launch/report.py"
    cost = measure(benchmark, report, large, "--output", tmp_path / "report")
    assert cost.processor < 60 and cost.gigabytes < 2
    assert (tmp_path / "report/grid.h5").stat().st_size > 1e8


def test_loading_a_thousand_runs(benchmark, tmp_path):
    write_grid(tmp_path / "grid", 200, 5)
    program = tmp_path / "loading.py"
    program.write_text(LOADING)
    cost = measure(benchmark, program, tmp_path / "grid", 1000, ROWS)
    assert cost.processor < 10
