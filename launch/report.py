"""Report a grid: the ranked table here, everything else as files.

python launch/report.py runs/quickstart
python launch/report.py runs/quickstart --metric fd --nfe 4 --compare runs/yesterday
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from framework.errors import UserError
from framework.report import default_output, findings, print_paths, print_ranking, write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="launch/report.py",
        description="Rank the arms of a grid and write its report.",
    )
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="folder of a grid, as runs/NAME"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: report/ in the grid")
    parser.add_argument("--metric", metavar="M", help="metric to rank by; default: grid.metric")
    parser.add_argument("--nfe", type=int, metavar="N", help="default: grid.metric_nfe")
    parser.add_argument("--compare", type=Path, metavar="OTHER_GRID", help="compare arm by arm")
    chosen = parser.parse_args(arguments)
    try:
        analysis = findings(chosen.directory, chosen.metric, chosen.nfe, chosen.compare)
        print_ranking(analysis)
        sys.stdout.flush()
        print_paths(write_report(analysis, default_output(chosen.directory, chosen.output)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
