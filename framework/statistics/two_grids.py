"""Two grids compared arm by arm: yesterday's and today's."""

import pandas as pd

from .holm import holm
from .intervals import paired_interval
from .scores import Direction, score_matrix
from .verdict import verdicts


def compare_grids(
    before: pd.DataFrame,
    after: pd.DataFrame,
    direction: Direction,
    confidence: float = 0.95,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Paired difference after - before of every arm that both grids have.

    Seeds are paired as within a grid: a run of one seed draws the same in both. Intervals are
    the paired t-test's, p is corrected over the arms by Holm's method.

    Args:
        before: columns arm, seed, value of the grid compared with.
        after: the same of the grid in question.
        direction: which way the metric improves.
        confidence: coverage of the intervals.
        alpha: level at which a corrected p-value decides.

    Returns:
        Index arm, in the order of `after`, then arms only in `before`; columns mean_before,
        mean_after, difference, low, high, p, p_holm, pairs, verdict ('only before' and 'only
        after' for arms without a partner).
    """
    old, new = score_matrix(before), score_matrix(after)
    arms = [*new.index, *(arm for arm in old.index if arm not in new.index)]
    seeds = sorted({*old.columns, *new.columns})
    old_full = old.reindex(index=arms, columns=seeds)
    new_full = new.reindex(index=arms, columns=seeds)
    estimate = paired_interval(new_full.to_numpy(float), old_full.to_numpy(float), confidence)
    p_holm = holm(estimate.p)
    words, _ = verdicts(estimate, p_holm, direction, alpha)
    lone = {
        arm: "only after" if arm in new.index else "only before"
        for arm in arms
        if (arm in new.index) != (arm in old.index)
    }
    return pd.DataFrame(
        {
            "mean_before": old_full.mean(axis=1),
            "mean_after": new_full.mean(axis=1),
            "difference": estimate.mean,
            "low": estimate.low,
            "high": estimate.high,
            "p": estimate.p,
            "p_holm": p_holm,
            "pairs": estimate.n,
            "verdict": [lone.get(arm, word) for arm, word in zip(arms, words, strict=True)],
        },
        index=pd.Index(arms, name="arm"),
    )
