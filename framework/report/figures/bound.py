"""A metric and the one that bounds it, along training."""

from matplotlib.figure import Figure

from framework.grid.claims import Claim

from ..analysis import Analysis
from ..selection import select
from .style import canvas, grid_lines, legend, name_values, pens


def draw_bound(analysis: Analysis, claim: Claim) -> Figure | None:
    """Draw both metrics of a `below` claim against steps, medians over seeds, one axis for both.

    It is logarithmic. The bound has filled marks, what it bounds open ones. None where they were
    evaluated once.

    Raises:
        UserError: no run has one of them.
    """
    below, above = (
        select(analysis.compared, name, claim.nfe, claim.w).at_nfe()
        for name in (claim.metric, claim.than)
    )
    if below["step"].nunique() < 2:
        return None
    styles = pens(map(str, analysis.ranking.index), analysis.baseline)
    figure, (axes,) = canvas()
    for rows, filled in ((above, True), (below, False)):
        medians = rows.groupby(["arm", "step"], sort=False)["value"].median().reset_index()
        for arm, curve in medians.groupby("arm", sort=False):
            pen = styles[str(arm)]
            axes.plot(
                curve["step"].to_numpy(float), curve["value"].to_numpy(float), color=pen.color,
                linestyle=pen.line, linewidth=pen.width, zorder=pen.zorder, marker=pen.marker,
                markersize=4, markerfacecolor=pen.color if filled else "white",
                label=str(arm) if filled and pen.named else "_",
            )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel(f"training step (medians of {below['seed'].nunique()} seeds)")
    name_values(axes, f"{claim.than} (filled), {claim.metric} (open)")
    grid_lines(axes)
    legend(axes, analysis, styles)
    return figure
