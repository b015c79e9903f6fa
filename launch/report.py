"""Report a grid: the ranked table here, everything else as files.

python launch/report.py runs/quickstart
python launch/report.py runs/quickstart --metric fd --nfe 4 --compare runs/yesterday
"""

from __future__ import annotations

import sys
from pathlib import Path

from framework.command import main, parser
from framework.report import default_output, findings, print_paths, print_ranking, write_report


def program() -> None:
    """Print the ranked table, write the report, and say where it lies."""
    options = parser(__doc__ or "")
    options.add_argument("directory", type=Path, metavar="DIR", help="folder of a grid: runs/NAME")
    options.add_argument("--output", type=Path, metavar="DIR", help="default: report/ in the grid")
    options.add_argument("--metric", metavar="M", help="metric to rank by; default: grid.metric")
    options.add_argument("--nfe", type=int, metavar="N", help="default: grid.metric_nfe")
    options.add_argument("--w", type=float, metavar="W", help="guidance weight of the evaluation")
    options.add_argument("--compare", type=Path, metavar="OTHER_GRID", help="compare arm by arm")
    chosen = options.parse_args()
    analysis = findings(chosen.directory, chosen.metric, chosen.nfe, chosen.compare, w=chosen.w)
    print_ranking(analysis)
    sys.stdout.flush()
    print_paths(write_report(analysis, default_output(chosen.directory, chosen.output)))


if __name__ == "__main__":
    main(program)
