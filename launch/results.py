"""Hold the findings that gin files claim against finished grids: RESULTS.md with its figures.

python launch/results.py gin/findings
python launch/results.py gin/findings --runs runs runs/digits   # at two scales
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from framework import command


def program() -> None:
    """Write the page, and print each finding's verdict."""
    parser = command.parser(__doc__ or "")
    add = parser.add_argument
    add("gin", type=Path, nargs="+", metavar="FILE", help="gin files or folders of them; those "
        "without grid.claims are left out")  # fmt: skip
    add("--runs", type=Path, nargs="+", default=[Path("runs")], metavar="DIR", help="folders of "
        "grids (default: runs)")  # fmt: skip
    add("--output", type=Path, default=Path("RESULTS.md"), metavar="FILE", help="the page")
    add("--pictures", type=Path, default=Path("docs/results"), metavar="DIR")
    given = parser.parse_args()
    from framework.report.findings_page import write_page  # imports pandas and matplotlib

    line = f"python {shlex.join(sys.argv)}"
    sections = write_page(given.gin, given.runs, given.output, given.pictures, line)
    for section in sections:
        print(f"{section.name}: {section.verdicts}")
    print(f"page: {given.output}")


if __name__ == "__main__":
    command.main(program)
