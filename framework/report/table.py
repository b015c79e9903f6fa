"""The ranked table in a terminal."""

import sys
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .analysis import Analysis
from .headline import headline
from .rows import Row, comparison_rows, ranked_rows
from .writing import ReportPaths

STYLES = {"better": "bold blue", "worse": "red", "baseline": "bold"}
MOST_ROWS = 100
PLAIN_WIDTH = 160
"""Columns where the output is no terminal, so that a log or a pipe gets whole lines."""


def print_ranking(analysis: Analysis, file: TextIO | None = None) -> None:
    """Print the ranked table and what it shows; plain text where `file` is no terminal.

    Args:
        analysis: the findings.
        file: where to; None for standard output.
    """
    console = _console(file)
    rows = ranked_rows(analysis)
    compared = any(row.difference not in ("baseline", "") for row in rows) and len(rows) > 1
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    numbers = {"#", analysis.selection.title, "difference", "p (Holm)", "time a run"}
    heads = ["#", "arm", analysis.selection.title]
    heads += ["difference", "95 % interval", "p (Holm)", "verdict"] if compared else []
    for head in [*heads, "runs done", "time a run"]:
        table.add_column(
            head, justify="right" if head in numbers else "left", overflow="fold",
            no_wrap=head != "arm" and head != "verdict",
        )  # fmt: skip
    for row in rows[:MOST_ROWS]:
        table.add_row(*_cells(row, compared), style=STYLES.get(row.kind))
    console.print(Text(f"{analysis.grid.name}: {analysis.grid.description}", style="bold"))
    console.print(table)
    if len(rows) > MOST_ROWS:
        console.print(Text(f"... and {len(rows) - MOST_ROWS} more arms in the report", style="dim"))
    for row in rows[:MOST_ROWS]:
        for remark in row.remarks:
            console.print(Text(f"  {row.arm}: {remark}", style="dim"))
    found = headline(analysis)
    for sentence in (_leader(analysis), found.claim, found.runner_up, found.lost):
        if sentence:
            console.print(Text(sentence))
    if analysis.against is not None:
        console.print(_comparison(analysis))
    for note in analysis.notes:
        console.print(Text(note, style="dim"))


def print_paths(paths: ReportPaths, file: TextIO | None = None) -> None:
    """Print where the files of a report lie."""
    console = _console(file)
    for name, path in paths.files().items():
        console.print(Text(f"{name:>9}  {path}"), soft_wrap=True)
    if paths.pictures:
        console.print(Text(f"{'pictures':>9}  {paths.pictures[0].parent}/*.png"), soft_wrap=True)


def _console(file: TextIO | None) -> Console:
    stream = file if file is not None else sys.stdout
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def _comparison(analysis: Analysis) -> Table:
    """Two grids arm by arm."""
    heads = ["arm", analysis.against_name, analysis.grid.name, "difference", "95 % interval",
             "p (Holm)", "verdict"]  # fmt: skip
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0),
                  title=f"Compared with {analysis.against_name}", title_justify="left")  # fmt: skip
    for head in heads:
        table.add_column(head, justify="left" if head in ("arm", "verdict") else "right")
    for row in comparison_rows(analysis):
        table.add_row(*row)
    return table


def _leader(analysis: Analysis) -> str:
    found = headline(analysis)
    return f"{found.leader}: {analysis.selection.title} {found.score}." if found.leader else ""


def _cells(row: Row, compared: bool) -> list[str]:
    comparison = [
        "" if row.kind == "baseline" else row.difference, row.interval, row.p, row.verdict,
    ]  # fmt: skip
    return [row.rank, row.arm, row.score, *(comparison if compared else []), row.runs, row.seconds]
