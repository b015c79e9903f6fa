"""Student's t interval and test for the mean of a few values, many rows at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Means with their intervals, one entry a row of what was estimated.

    Attributes:
        n: values that entered each row.
        mean: their mean; NaN without values.
        sd: their standard deviation (ddof 1); NaN below two values.
        low: lower end of the interval.
        high: upper end of the interval.
        p: two-sided p-value of the mean being zero.
    """

    n: NDArray[np.int64]
    mean: Floats
    sd: Floats
    low: Floats
    high: Floats
    p: Floats


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """One-sample t interval of each row's mean, and the t-test of it being zero.

    mean ± t(1 - a/2, n - 1) sd / sqrt(n) (Student, Biometrika 6, 1908). On differences between
    arms of one seed this is the paired t-test. Rows of zeros have a zero-width
    interval with p = 1. Other identical values, as a coarse metric gives on a few seeds, say
    nothing of their spread: they have no interval and no p (NaN).

    Args:
        values: (..., n), NaN where a seed is missing; the last axis is averaged.
        confidence: coverage asked for, between 0 and 1.

    Raises:
        ValueError: a confidence outside (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    x = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(x)
    n = present.sum(axis=-1)
    some, enough = n >= 1, n >= 2
    count = np.where(some, n, 1)
    mean = np.where(some, np.where(present, x, 0.0).sum(axis=-1) / count, np.nan)
    squares = np.where(present, (x - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    # Rounding alone must not turn equal values into a tiny deviation and so into certainty.
    largest = np.where(present, np.abs(x), 0.0).max(axis=-1, initial=0.0)
    squares = np.where(squares <= count * (4 * np.finfo(float).eps * largest) ** 2, 0.0, squares)
    sd = np.where(enough, np.sqrt(squares / np.where(enough, n - 1, 1)), np.nan)
    error = sd / np.sqrt(count)
    freedom = np.where(enough, n - 1, 1)
    half = stats.t.ppf(0.5 + confidence / 2, freedom) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean / error), freedom)
    p = np.where(enough & (error == 0), np.where(mean == 0, 1.0, np.nan), p)
    half = np.where(enough & (error == 0) & (mean != 0), np.nan, half)
    return Estimate(n, mean, sd, mean - half, mean + half, np.where(enough, p, np.nan))
