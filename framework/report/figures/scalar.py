"""A logged scalar as it was: one seed, nothing averaged, so that jumps show."""

from typing import cast

import numpy as np
from matplotlib.figure import Figure

from ..analysis import Analysis
from ..scalars import curves
from .style import canvas, grid_lines, legend, name_values, pens


def draw_scalar(analysis: Analysis, tag: str) -> Figure:
    """Draw a scalar against steps, on a logarithmic axis: of the first seed that most arms have.

    Raises:
        UserError: no run logged it.
    """
    rows = curves(analysis.compared, tag)
    arms = rows.groupby("seed", observed=True)["arm"].nunique()
    seed = cast("int", arms.idxmax())
    first = rows[rows["seed"] == seed]
    styles = pens(map(str, analysis.ranking.index), analysis.baseline)
    figure, (axes,) = canvas()
    for arm, curve in first.groupby("arm", sort=False):
        pen, values = styles[str(arm)], curve["value"].to_numpy(float)
        axes.plot(
            curve["step"].to_numpy(float), np.abs(values), color=pen.color, linestyle=pen.line,
            linewidth=0.6 * pen.width, zorder=pen.zorder, label=str(arm),
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("training step")
    name_values(axes, f"{tag}, seed {seed}")
    grid_lines(axes)
    legend(axes, analysis, styles)
    return figure
