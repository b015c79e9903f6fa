"""The ranked table as text, one row an arm, shared by every form of the report."""

import math
from dataclasses import dataclass

import pandas as pd

from framework.statistics import STATES

from .analysis import Analysis
from .headline import decimals
from .numbers import DASH, duration, fixed, interval, probability, with_spread


@dataclass(frozen=True)
class Row:
    """One arm of the ranked table, written out.

    Attributes:
        rank: its place, a dash without.
        arm: its name.
        kind: 'baseline', 'better', 'worse', 'open' (cannot tell) or 'none'.
        score: mean ± sd.
        difference: paired difference to the baseline, signed.
        interval: its 95 % interval.
        bootstrap: the percentile bootstrap's, a dash with few seeds.
        p: corrected p-value.
        verdict: in words.
        runs: how many of its runs are in which state.
        remarks: diverged runs, unpaired seeds, tuning; empty if nothing.
        evaluation_noise: sd of a run's value from the draw of samples.
        seed_noise: sd between runs beyond that.
        seconds: mean of its scored runs.
        numbers: (difference, low, high) for drawing; NaN where unknown.
    """

    rank: str
    arm: str
    kind: str
    score: str
    difference: str
    interval: str
    bootstrap: str
    p: str
    verdict: str
    runs: str
    remarks: list[str]
    evaluation_noise: str
    seed_noise: str
    seconds: str
    numbers: tuple[float, float, float]


def ranked_rows(analysis: Analysis) -> list[Row]:
    """Write out the ranked table, best arm first."""
    places = decimals(analysis)
    table = analysis.ranking
    missing = [c for c in COMPARISON if c not in table]
    table = table.assign(**dict.fromkeys(missing, math.nan))
    return [_row(analysis, str(arm), row, places) for arm, row in table.iterrows()]


COMPARISON = ("difference", "low", "high", "bootstrap_low", "bootstrap_high", "p_holm", "verdict",
              "unpaired")  # fmt: skip


def _row(analysis: Analysis, arm: str, row: pd.Series, places: int) -> Row:
    verdict = row["verdict"] if isinstance(row["verdict"], str) else ""
    baseline = arm == analysis.baseline
    return Row(
        rank=f"{row['rank']:.0f}" if math.isfinite(row["rank"]) else DASH,
        arm=arm,
        kind="baseline" if baseline else _kind(verdict),
        score=with_spread(row["mean"], row["sd"], places),
        difference="baseline" if baseline else fixed(row["difference"], places, signed=True),
        interval="" if baseline else interval(row["low"], row["high"], places),
        bootstrap=interval(row["bootstrap_low"], row["bootstrap_high"], places),
        p="" if baseline else probability(row["p_holm"]),
        verdict="baseline" if baseline else verdict or DASH,
        runs=_runs(row),
        remarks=_remarks(analysis, arm, row),
        evaluation_noise=fixed(row["evaluation_sd"], places + 1),
        seed_noise=fixed(row["seed_sd"], places + 1),
        seconds=duration(row["seconds"]),
        numbers=(float(row["difference"]), float(row["low"]), float(row["high"])),
    )


def _kind(verdict: str) -> str:
    if verdict in ("better", "worse"):
        return verdict
    if verdict.startswith("differs"):
        return "worse"
    return "open" if verdict else "none"


def _runs(row: pd.Series) -> str:
    """Count the runs by state: '5/5', or '4/5, 1 diverged'."""
    others = [f"{int(row[s])} {s}" for s in STATES if row[s] and s != "done"]
    others += [f"{int(row['broken'])} without a number"] if row["broken"] else []
    unscored = int(row["done"] - row["n"] - row["broken"])  # below 0 where running ones have scores
    others += [f"{unscored} without a score"] if unscored > 0 else []
    return ", ".join([f"{int(row['done'])}/{int(row['runs'])}", *others])


def _remarks(analysis: Analysis, arm: str, row: pd.Series) -> list[str]:
    """What the numbers of one arm do not say."""
    remarks = []
    if row["divergences"]:
        remarks.append(f"diverged: {row['divergences']}")
    if (row["diverged"] or row["broken"]) and row["n"]:
        remarks.append("mean of the surviving runs")
    if isinstance(row["unpaired"], list) and row["unpaired"]:
        seeds = ", ".join(map(str, row["unpaired"]))
        remarks.append(f"not paired with the baseline: seed {seeds}")
    if analysis.tuning is not None:
        tuned = analysis.tuning.T[arm]
        remarks.append(
            f"best of {tuned['tried']} tuned: {tuned['variant']} "
            f"(search {duration(float(tuned['search_seconds']))})"
        )
    return remarks


def comparison_rows(analysis: Analysis) -> list[tuple[str, ...]]:
    """Write out the comparison with another grid; no rows without one.

    Returns:
        Arm, mean before, mean after, difference, interval, corrected p, verdict.
    """
    if analysis.against is None:
        return []
    places = decimals(analysis)
    return [
        (
            str(arm),
            fixed(row["mean_before"], places),
            fixed(row["mean_after"], places),
            fixed(row["difference"], places, signed=True),
            interval(row["low"], row["high"], places),
            probability(row["p_holm"]),
            str(row["verdict"]),
        )
        for arm, row in analysis.against.iterrows()
    ]
