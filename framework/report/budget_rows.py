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
    """Lay the rankings side by side, arms in the order of the main table."""
    places = decimals(analysis)
    names = {"step": "equal steps", "time": "equal time", "flops": "equal FLOPs"}
    heads = [f"{names[b.cost]} ({quantity(b.budget, b.unit)})" for b in analysis.budgets]
    ranks = [b.table[["rank", "mean"]].to_dict("index") for b in analysis.budgets]
    rows, moved = [], False
    for arm in map(str, analysis.ranking.index):
        cells = []
        for found in (by_arm[arm] for by_arm in ranks):
            rank = f"{found['rank']:.0f}." if math.isfinite(found["rank"]) else DASH
            cells.append((rank, fixed(found["mean"], places)))
        moved = moved or len({rank for rank, _ in cells}) > 1
        rows.append((arm, cells))
    return BudgetTable(heads, rows, moved)
