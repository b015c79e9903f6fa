"""Published claims against our own seeds: the same direction, the opposite one, or neither."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

Verdict = Literal["same direction", "opposite direction", "cannot tell"]


def direction_verdicts(
    differences: ArrayLike, expected: ArrayLike, p_corrected: ArrayLike, alpha: float = 0.05
) -> list[Verdict]:
    """Say which way differences point, where their corrected p-values decide it.

    Args:
        differences: (m,) mean differences, or anything of their sign.
        expected: (m,) the signs that were claimed, 1 or -1.
        p_corrected: (m,) corrected two-sided p-values; NaN decides nothing.
        alpha: level of the test.
    """
    agree = np.asarray(differences, dtype=np.float64) * np.asarray(expected, dtype=np.float64)
    decided = np.asarray(p_corrected, dtype=np.float64) < alpha
    return [
        "cannot tell" if not sure or gain == 0 else "same direction" if gain > 0
        else "opposite direction"
        for gain, sure in zip(agree.tolist(), decided.tolist(), strict=True)
    ]  # fmt: skip


def diverged_p(lost: int, runs: int, other_lost: int, other_runs: int) -> float:
    """Return the p-value of two arms diverging equally often, by Fisher's exact test."""
    table = np.array([[lost, runs - lost], [other_lost, other_runs - other_lost]])
    return float(stats.fisher_exact(table).pvalue)
