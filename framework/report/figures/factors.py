"""Main effects of a product grid, factor by factor."""

import numpy as np
from matplotlib.figure import Figure

from ..analysis import Analysis
from ..numbers import percent, shorten
from .labels import level
from .style import BLUE, INK, SKY, canvas, grid_lines, name_values

MOST = 4


def draw_factors(analysis: Analysis) -> Figure | None:
    """Draw the effect of each factor's levels with intervals; None outside product grids."""
    if analysis.factorial is None or analysis.factorial.main.empty:
        return None
    main = analysis.factorial.main
    factors = list(main["factor"].unique())[:MOST]
    figure, panels = canvas(max(6.0, 2.6 * len(factors)), 3.0, len(factors))
    shares = analysis.factorial.shares
    for axes, factor in zip(panels, factors, strict=True):
        rows = main[main["factor"] == factor]
        x = np.arange(len(rows))
        effect = rows["effect"].to_numpy(float)
        around = np.abs(rows[["low", "high"]].to_numpy(float).T - effect)
        errors = around if np.isfinite(around).all() else None
        axes.axhline(0, color=INK, linewidth=0.8)
        line = "-" if all(map(_is_number, rows["level"])) else ""
        axes.errorbar(x, effect, errors, color=BLUE, marker="o", linestyle=line, linewidth=1.2,
                      elinewidth=2.4, ecolor=SKY, markersize=5, capsize=0)  # fmt: skip
        names = [shorten(level(text), 18) for text in rows["level"]]
        turn = 45 if sum(map(len, names)) > 28 else 0
        axes.set_xticks(
            x, names, rotation=turn,
            ha="right" if turn else "center", fontsize=8,
        )  # fmt: skip
        share = percent(shares[factor], 0).replace("%", "% of the variance")
        axes.set_title(f"{shorten(factor.rpartition('.')[2], 26)}\n{share}", fontsize=8.5)
        grid_lines(axes)
        axes.margins(x=0.1)
    name_values(panels[0], f"effect on {analysis.selection.title}", room=2.0)
    low = min(axes.get_ylim()[0] for axes in panels)
    high = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(low, high)
    return figure


def _is_number(text: str) -> bool:
    """Whether levels have an order that a line may suggest."""
    try:
        float(text)
    except ValueError:
        return False
    return True
