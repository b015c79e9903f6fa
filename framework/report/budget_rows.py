"""Rankings at equal steps, time and FLOPs side by side."""

import math
from dataclasses import dataclass

from .analysis import Analysis
from .headline import decimals
from .numbers import DASH, fixed, quantity


@dataclass(frozen=True)
class BudgetTable:
    """Ranks under each budget.

    Attributes:
        heads: one a budget: 'equal steps (200 steps)'.
        rows: per arm its name and (rank, mean) under each budget.
        moved: whether any arm's rank depends on the budget.
    """

    heads: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]
    moved: bool


def budget_table(analysis: Analysis) -> BudgetTable:
    """Lay the rankings side by side, arms in the order of the main table.

    An arm without a number at a budget has no place there; a mean of some of its runs says so.
    """
    places = decimals(analysis)
    names = {"step": "equal steps", "time": "equal time", "flops": "equal FLOPs"}
    heads = [f"{names[b.cost]} ({quantity(b.budget, b.unit)})" for b in analysis.budgets]
    ranks = [b.table[["rank", "mean", "n"]].to_dict("index") for b in analysis.budgets]
    scored = analysis.scores.final["arm"].value_counts().to_dict()
    rows, moved = [], False
    for arm in map(str, analysis.ranking.index):
        cells = []
        for found in (by_arm[arm] for by_arm in ranks):
            placed = math.isfinite(found["rank"]) and math.isfinite(found["mean"])
            rank, n = f"{found['rank']:.0f}." if placed else DASH, int(found["n"])
            lacks = f" ({n} of {scored[arm]} runs)" if 0 < n < scored.get(arm, 0) else ""
            cells.append((rank, fixed(found["mean"], places) + lacks))
        moved = moved or len({rank for rank, _ in cells if rank != DASH}) > 1
        rows.append((arm, cells))
    return BudgetTable(heads, rows, moved)
