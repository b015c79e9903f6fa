"""Paired comparison of every arm with the baseline, by seed."""

import numpy as np
import pandas as pd

from .bootstrap import bootstrap_interval
from .holm import holm
from .intervals import paired_interval
from .scores import Direction, score_matrix
from .verdict import verdicts


def paired_differences(
    scores: pd.DataFrame,
    baseline: str,
    direction: Direction,
    confidence: float = 0.95,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Mean difference arm - baseline over the seeds that both finished.

    Arms of one seed share their random draws, so the difference within a seed carries less
    noise than the difference of two means. Interval and p-value are the paired t-test's
    (`paired_interval`), p is corrected over all arms by Holm's method (`holm`), and from 8 seeds
    on a percentile bootstrap stands beside (`bootstrap_interval`).

    Args:
        scores: columns arm, seed, value; one row a run that has a score.
        baseline: the arm to compare with.
        direction: which way the metric improves.
        confidence: coverage of the intervals.
        alpha: level at which a corrected p-value decides.

    Returns:
        Index arm, without the baseline; columns difference, sd, low, high, bootstrap_low,
        bootstrap_high, p, p_holm, pairs, unpaired (list of seeds that only one of the two has),
        verdict, more_seeds.

    Raises:
        ValueError: the baseline has no score.
    """
    matrix = score_matrix(scores)
    if baseline not in matrix.index:
        raise ValueError(f"the baseline {baseline!r} has no score")
    reference = matrix.T[baseline]
    others = matrix.drop(index=baseline)
    scores_of, reference_scores = others.to_numpy(), reference.to_numpy()[None, :]
    estimate = paired_interval(scores_of, reference_scores, confidence)
    boot_low, boot_high = bootstrap_interval(scores_of - reference_scores, confidence)
    p_holm = holm(estimate.p)
    words, more = verdicts(estimate, p_holm, direction, alpha)
    return pd.DataFrame(
        {
            "difference": estimate.mean,
            "sd": estimate.sd,
            "low": estimate.low,
            "high": estimate.high,
            "bootstrap_low": boot_low,
            "bootstrap_high": boot_high,
            "p": estimate.p,
            "p_holm": p_holm,
            "pairs": estimate.n,
            "unpaired": _unpaired(others, reference),
            "verdict": words,
            "more_seeds": more,
        },
        index=others.index,
    )


def _unpaired(others: pd.DataFrame, reference: pd.Series) -> list[list[int]]:
    """Seeds of which only the arm or only the baseline has a score, for each arm."""
    lone = others.notna().to_numpy() ^ reference.notna().to_numpy()[None, :]
    seeds = np.asarray(others.columns)
    return [[int(seed) for seed in seeds[row]] for row in lone]
