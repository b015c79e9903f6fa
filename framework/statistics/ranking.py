"""The ranked table: who leads, with divergences counted and placed last."""

import numpy as np
import pandas as pd

from .scores import Direction, orient, summarise

STATES = ("done", "diverged", "failed", "stopped", "running", "queued")
"""States a run can be in, in the order in which tables show them."""


def rank_arms(scores: pd.DataFrame, runs: pd.DataFrame, direction: Direction) -> pd.DataFrame:
    """Rank arms by their mean over seeds; arms with diverged runs come after all others.

    The mean of an arm with diverged runs is that of its survivors and flatters it, so such arms
    are ordered by the share of runs that diverged, then by that mean. A run whose score is no
    number is lost as well. Arms that have no score and lost nothing (queued, failed) stand below,
    without a rank. No arm is left out.

    Args:
        scores: columns arm, seed, value; one row a run that has a score, NaN where it is no number.
        runs: columns arm, seed, state, diverged_step, cause; one row a run of the grid.
        direction: which way the metric improves.

    Returns:
        Index arm, best first; columns rank (NaN without), mean, sd, n, one count a state of
        STATES, runs, broken (scores that are no number), divergences (text: seed, step and
        cause of each).
    """
    arms = pd.Index(pd.unique(runs["arm"].astype(object)), name="arm")
    table = summarise(scores).reindex(arms)
    table["n"] = table["n"].fillna(0).astype(int)
    counts = pd.crosstab(runs["arm"].astype(object), runs["state"].astype(object))
    table = table.join(counts.reindex(columns=list(STATES), fill_value=0).reindex(arms))
    table["runs"] = runs["arm"].astype(object).value_counts().reindex(arms)
    broken = scores["value"].isna().groupby(scores["arm"].astype(object)).sum()
    table["broken"] = broken.reindex(arms, fill_value=0).astype(int)
    table["divergences"] = _divergences(runs).reindex(arms).fillna("")
    share = lost_runs(table) / table["runs"]
    order = pd.DataFrame(
        {
            "unranked": table["mean"].isna() & (share == 0),
            "share": share,
            "value": -orient(direction) * table["mean"],
        }
    ).sort_values(["unranked", "share", "value"], kind="stable", na_position="last")
    table = table.loc[order.index]
    ranked = ~order["unranked"].to_numpy()
    table.insert(0, "rank", np.where(ranked, np.cumsum(ranked), np.nan))
    return table


def _divergences(runs: pd.DataFrame) -> pd.Series:
    """What became of the diverged runs of each arm, as text."""
    lost = runs[runs["state"] == "diverged"]
    texts: dict[str, dict[str, list[str]]] = {}
    for arm, seed, step, cause in zip(
        lost["arm"], lost["seed"], lost["diverged_step"], lost["cause"], strict=True
    ):
        where = f" at step {int(step)}" if pd.notna(step) else ""
        why = f": {cause.removesuffix(where)}" if isinstance(cause, str) and cause else ""
        texts.setdefault(str(arm), {}).setdefault(where + why, []).append(str(seed))
    return pd.Series(
        {
            arm: "; ".join(f"{_seeds(seeds)}{what}" for what, seeds in parts.items())
            for arm, parts in texts.items()
        },
        dtype=object,
    )


def _seeds(seeds: list[str]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"


def lost_runs(table: pd.DataFrame) -> pd.Series:
    """Return how many runs each arm of `rank_arms` lost: diverged, or with a score that is none."""
    return table["diverged"] + table["broken"]
