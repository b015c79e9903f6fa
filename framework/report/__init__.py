"""Reports of ablation grids: from a folder of runs to a statement that stands up.

`write` makes every form of a report from a grid's folder; `print_ranking` shows the ranked table
in a terminal.
"""

from pathlib import Path

from .analysis import Analysis, analyse
from .grid_results import Arm, GridResults, RunFacts, RunReader
from .loading import load_grid
from .table import print_paths, print_ranking
from .writing import ReportPaths, write_report

__all__ = [
    "Analysis",
    "Arm",
    "GridResults",
    "ReportPaths",
    "RunFacts",
    "RunReader",
    "analyse",
    "default_output",
    "findings",
    "print_paths",
    "print_ranking",
    "write",
    "write_report",
]


def findings(
    directory: Path | str,
    metric: str | None = None,
    nfe: int | None = None,
    compare: Path | str | None = None,
    *,
    w: float | None = None,
) -> Analysis:
    """Load a grid and work out what it shows.

    Args:
        directory: the grid's folder.
        metric: metric to rank by; None for the grid's own.
        nfe: network evaluations to rank at; None for the grid's own.
        compare: folder of another grid, compared arm by arm.
        w: guidance weight to rank at; None for the first that all arms have.

    Raises:
        UserError: the folder is no grid, or has nothing to rank.
    """
    other = None if compare is None else load_grid(Path(compare))
    return analyse(load_grid(Path(directory)), metric, nfe, other, w=w)


def write(directory: Path | str, output: Path | str | None = None) -> ReportPaths:
    """Write a grid's report: HTML, Markdown, LaTeX, CSV, figures and one HDF5 of everything.

    Args:
        directory: the grid's folder.
        output: where to write; None for `report/` in the grid's folder.

    Raises:
        UserError: the folder is no grid, has nothing to rank, or cannot be written to.
    """
    return write_report(findings(directory), default_output(Path(directory), output))


def default_output(directory: Path, output: Path | str | None) -> Path:
    """Return where the report of a grid goes."""
    return directory / "report" if output is None else Path(output)
