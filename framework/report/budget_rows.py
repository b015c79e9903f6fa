"""Rankings at equal steps, time and FLOPs side by side."""

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
    rows, moved = [], False
    for arm in map(str, analysis.ranking.index):
        cells = []
        for budget in analysis.budgets:
            found = budget.table.T[arm]
            known = found["mean"] == found["mean"]
            rank = f"{found['rank']:.0f}" if found["rank"] == found["rank"] else DASH
            cells.append((rank, fixed(float(found["mean"]), places) if known else DASH))
        moved = moved or len({rank for rank, _ in cells}) > 1
        rows.append((arm, cells))
    return BudgetTable(heads, rows, moved)
