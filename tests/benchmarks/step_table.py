"""The table of bench_step.py's results, for the terminal and as the README's Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from step_cases import CASES, Figures

HEAD = (
    "case", "released", "first version", "asked", "dream", "reached", "floor",
    "first step", "compiled graphs",
)  # fmt: skip
REHEARSAL = "REHEARSAL at a tiny size: no figure below is a measurement."
FELL_BACK = "RAN EAGER: NOT COMPILED"


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return all results in Markdown: measured steps, steps by runs side by side, failures."""
    measured = [r for r in results if "median_ms" in r]
    packed = [r for r in results if "steps_per_second" in r]
    failed = [r for r in results if "error" in r]
    lines = [REHEARSAL] * any(r.get("rehearsal") for r in results)
    lines += sorted({f"{r['device']}, torch {r['torch']}" for r in measured})
    if measured:
        lines += ["", *markdown([HEAD, *(_measured(r) for r in measured)])]
    if packed:
        runs = [str(n) for n in packed[0]["steps_per_second"]]
        rows = [
            (r["case"], *(f"{rate:.0f}" for rate in r["steps_per_second"].values())) for r in packed
        ]
        lines += ["", "Steps/s of all runs together, by the number of runs side by side:", ""]
        lines += markdown([("case", *runs), *rows])
    lines += [f"{r['case']}: FAILED: {r['error']}" for r in failed]
    return "\n".join(lines)


def _measured(result: dict[str, Any]) -> tuple[str, ...]:
    case = CASES[result["case"]]
    found = _figures((result["median_ms"], result["reserved_gb"]))
    if result["median_ms"] < 20:
        found += f" ({1e3 / result['median_ms']:.0f} steps/s)"
    return (
        result["case"],
        *(_figures(pair) for pair in (case.released, case.first, case.reach, case.dream)),
        found,
        f"{result['floor_ms']:.1f} ms",
        f"{result['seconds_from_process_start']['first_step']:.1f} s",
        FELL_BACK if result["fell_back"] else str(result["graphs"]),
    )


def _figures(pair: Figures) -> str:
    milliseconds, gigabytes = pair
    parts = [] if milliseconds is None else [f"{milliseconds:.4g} ms"]
    parts += [] if gigabytes is None else [f"{gigabytes:.1f} GB"]
    return ", ".join(parts)


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, whose first row is its head."""
    head, *body = rows
    return [_row(head), _row(["---"] * len(head)), *(_row(row) for row in body)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
