"""What the templates fill in."""

import base64
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from .analysis import Analysis
from .budget_rows import BudgetTable, budget_table
from .figures.labels import level
from .forest import forest_cell
from .headline import Headline, decimals, headline
from .metric_rows import MetricTable, metric_table
from .numbers import Span, fixed, interval, percent, probability, readable_span
from .pictures import Picture
from .provenance import ArmLinks, arm_links, environment, read_facts, varied_bindings
from .rows import Row, comparison_rows, ranked_rows

MOST_INTERACTIONS = 12


@dataclass(frozen=True)
class Content:
    """Everything a report says, as text.

    Attributes:
        analysis: the findings.
        headline: the first sentences.
        rows: the ranked table.
        span: ends of the axis that the table's drawings share; None without differences.
        budgets: rankings at equal cost.
        metrics: every metric at every NFE.
        pictures: the figures.
        arms: runs and settings behind every arm.
        bindings: settings in which arms differ.
        environment: machine, versions, commit.
        interactions: strongest two-way interactions: what, effect, interval, corrected p.
        shares: factor or pair -> per cent of the variance between cells.
        against: comparison with another grid: arm, before, after, difference, interval, p, verdict.
        noise: which source of noise dominates.
    """

    analysis: Analysis
    headline: Headline
    rows: list[Row]
    span: Span | None
    budgets: BudgetTable
    metrics: MetricTable
    pictures: list[Picture]
    arms: list[ArmLinks]
    bindings: list[str]
    environment: dict[str, str]
    interactions: list[tuple[str, str, str, str]]
    shares: list[tuple[str, str]]
    against: list[tuple[str, ...]]
    noise: str

    @property
    def uneven(self) -> bool:
        """Whether a mean is over fewer than all seeds."""
        return bool((self.analysis.ranking["n"] < len(self.analysis.grid.seeds)).any())

    def forest(self, row: Row) -> Markup:
        """Draw a row's difference for a table cell."""
        return forest_cell(row, self.span) if self.span else Markup("")

    def anchor(self, arm: str) -> str:
        """Return the anchor of an arm's runs."""
        return next(links.anchor for links in self.arms if links.arm == arm)

    def inlined(self, picture: Picture) -> str:
        """Return a picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(picture.path.read_bytes()).decode()


def gather(analysis: Analysis, pictures: list[Picture], output: Path) -> Content:
    """Write out everything that a report of these findings says."""
    compared = "difference" in analysis.ranking and analysis.ranking["difference"].notna().any()
    facts = read_facts(analysis)
    return Content(
        analysis=analysis,
        headline=headline(analysis),
        rows=ranked_rows(analysis),
        span=readable_span(analysis.ranking) if compared else None,
        budgets=budget_table(analysis),
        metrics=metric_table(analysis),
        pictures=pictures,
        arms=arm_links(analysis, facts, output),
        bindings=varied_bindings(analysis.grid),
        environment=environment(facts),
        interactions=_interactions(analysis),
        shares=_shares(analysis),
        against=comparison_rows(analysis),
        noise=_noise(analysis),
    )


def _interactions(analysis: Analysis) -> list[tuple[str, str, str, str]]:
    """The interactions that are surest to be there."""
    if analysis.factorial is None or analysis.factorial.interactions.empty:
        return []
    places = decimals(analysis)
    pairs = _without_mirrored(analysis.factorial.interactions.dropna(subset="effect"))
    rows = pairs.sort_values(["p_holm", "p"]).head(MOST_INTERACTIONS)
    return [
        (
            f"{r['factor_a'].rpartition('.')[2]} = {level(r['level_a'])}, "
            f"{r['factor_b'].rpartition('.')[2]} = {level(r['level_b'])}",
            fixed(r["effect"], places, signed=True),
            interval(r["low"], r["high"], places),
            probability(r["p_holm"]),
        )
        for r in rows.to_dict("records")
    ]


def _without_mirrored(pairs: pd.DataFrame) -> pd.DataFrame:
    """Leave out the second of a factor's two levels, whose effects are the first's with a minus."""
    for side in "ab":
        levels = pairs.groupby(f"factor_{side}")[f"level_{side}"]
        second = (levels.transform("nunique") == 2) & (
            pairs[f"level_{side}"] != levels.transform("first")
        )
        pairs = pairs[~second]
    return pairs


def _shares(analysis: Analysis) -> list[tuple[str, str]]:
    if analysis.factorial is None:
        return []
    shares = analysis.factorial.shares.sort_values(ascending=False)
    return [(str(name), percent(share, 1)) for name, share in shares.items()]


def _noise(analysis: Analysis) -> str:
    """Say which noise dominates, pooled over arms, and what would lessen it."""
    table: pd.DataFrame = analysis.ranking[["evaluation_sd", "seed_sd"]].dropna()
    if table.empty:
        return ""
    pooled = (table**2).mean() ** 0.5
    places = decimals(analysis) + 1
    drawn, seeds = float(pooled["evaluation_sd"]), float(pooled["seed_sd"])
    advice = (
        "evaluating on more samples would help most"
        if drawn > seeds
        else "more seeds help, more evaluation samples hardly"
    )
    return (
        f"Noise of a run, pooled over arms: {fixed(drawn, places)} from the draw of evaluation "
        f"samples, {fixed(seeds, places)} from the training seed; {advice}."
    )
