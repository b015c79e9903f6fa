"""The first sentences of a report: which arm wins, by how much, how sure."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from framework.statistics import lost_runs, orient, paired_differences

from .analysis import Analysis, the_baseline
from .numbers import decimals_for, fixed, probability, with_spread


@dataclass(frozen=True)
class Headline:
    """What the first screen says.

    Attributes:
        leader: the arm on top; empty without a score.
        score: its mean ± sd.
        claim: how it stands to the baseline.
        runner_up: how it stands to the second.
        lost: what diverged, failed or is missing; empty if nothing.
    """

    leader: str
    score: str
    claim: str
    runner_up: str
    lost: str


def decimals(analysis: Analysis) -> int:
    """Decimals that the whole report uses for the metric: enough for its paired differences."""
    table = analysis.ranking
    places = decimals_for(table["sd"], table["mean"])
    if "difference_sd" not in table:
        return places
    errors: pd.Series = table["difference_sd"] / np.sqrt(table["pairs"].clip(lower=1).astype(float))
    return min(max(places, decimals_for(errors, table["mean"])), places + 1)


def headline(analysis: Analysis) -> Headline:
    """Say who leads, by how much and how sure that is."""
    table = analysis.ranking
    whole = table["mean"].notna() & (lost_runs(table) == 0)
    ranked = table[table["rank"].notna() & whole]
    if ranked.empty:
        no = "a finished run without divergence"
        no = "only runs with a number for a score" if table["broken"].any() else no
        return Headline("", "", f"No arm has {no}.", "", _lost(analysis))
    first = ranked.iloc[0]
    places = decimals(analysis)
    return Headline(
        str(ranked.index[0]),
        with_spread(first["mean"], first["sd"], places),
        _claim(analysis, str(ranked.index[0]), places),
        _runner_up(analysis, [str(arm) for arm in ranked.index[:2]], places),
        _lost(analysis),
    )


def _claim(analysis: Analysis, leader: str, places: int) -> str:
    """Compare the leader with the baseline."""
    if analysis.baseline is None or len(analysis.ranking) == 1:
        return ""
    if leader == analysis.baseline:
        return f"It is the baseline; {_rivals(analysis.ranking.drop(index=leader))}."
    row = analysis.ranking.T[leader]
    if not row["pairs"]:
        return f"It has no seed in common with {the_baseline(analysis.baseline)}."
    size = fixed(abs(row["difference"]), places)
    side = "lower" if row["difference"] < 0 else "higher"
    words = f"{size} {side} than {the_baseline(analysis.baseline)}"
    if not math.isfinite(row["p"]):
        return f"{words}, {_few(int(row['pairs']))}: no interval."
    return (
        f"{words} (95 % interval {_span(row, places)}, corrected p "
        f"{_equals(row['p_holm'])}, {int(row['pairs'])} paired seeds): {row['verdict']}."
    )


def _rivals(others: pd.DataFrame) -> str:
    """Count the arms that lost to the baseline, and those that cannot be compared with it."""
    lost = others["diverged"] == others["runs"]
    compared = others["verdict"].notna() & ~lost
    counts = (
        ("surely worse than it", (others["verdict"] == "worse") & compared, compared),
        ("diverged in every seed", lost, lost),
        ("no score yet", ~compared & ~lost, ~compared & ~lost),
    )
    shown = [(words, arms.sum()) for words, arms, wanted in counts if wanted.any()]
    return "; ".join(f"{words}: {count} of {len(others)}" for words, count in shown)


def _runner_up(analysis: Analysis, arms: list[str], places: int) -> str:
    """Compare the leader with the second, which chance may have put in this order.

    Both were picked for their scores, so p is corrected over the leader against all others.
    """
    if len(arms) < 2 or analysis.baseline is None:
        return ""
    leader, second = arms
    if second == analysis.baseline:
        return ""
    direction = analysis.selection.direction
    pair = paired_differences(analysis.scores.final, leader, direction).T[second]
    if not pair["pairs"]:
        return f"It has no seed in common with {second}: not a clear lead."
    gain, *ends = (-orient(direction) * pair[name] for name in ("difference", "low", "high"))
    size = fixed(abs(gain), places)
    span = f"{fixed(min(ends), places, True)} to {fixed(max(ends), places, True)}"
    place = "Ahead of" if gain >= 0 else "On the seeds that both have, behind"
    if not math.isfinite(pair["p"]):
        return f"{place} {second} by {size}, {_few(int(pair['pairs']))}: not a clear lead."
    sure = "a clear lead" if pair["p_holm"] < 0.05 and gain > 0 else "not a clear lead"
    return (
        f"{place} {second} by {size} (95 % interval {span}, p corrected over all others "
        f"{_equals(pair['p_holm'])}): {sure}."
    )


def _few(pairs: int) -> str:
    """Say why there is no p-value."""
    return "from one seed" if pairs == 1 else f"the same in all {pairs} seeds"


def _span(row: pd.Series, places: int) -> str:
    """Write an interval as a sentence wants it."""
    return f"{fixed(row['low'], places, True)} to {fixed(row['high'], places, True)}"


def _equals(p: float) -> str:
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"


def _lost(analysis: Analysis) -> str:
    """Count the runs that have no score."""
    counts = analysis.runs["state"].value_counts()
    lost = [
        f"{counts[state]} {state}"
        for state in ("diverged", "failed", "stopped", "running", "queued")
        if counts.get(state, 0)
    ]
    broken = analysis.ranking["broken"].sum()
    lost += [f"{broken} without a number for a score"] if broken else []
    return f"Of {len(analysis.runs)} runs: {', '.join(lost)}." if lost else ""
