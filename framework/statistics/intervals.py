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


ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""How far two results of the same arithmetic may lie apart, as a share of what went into it."""


def t_interval(
    values: ArrayLike, confidence: float = 0.95, scale: ArrayLike | None = None
) -> Estimate:
    """One-sample t interval of each row's mean, and the t-test of it being zero.

    mean ± t(1 - a/2, n - 1) sd / sqrt(n) (Student, Biometrika 6, 1908). On differences between
    arms of one seed this is the paired t-test. Rows of zeros have a zero-width
    interval with p = 1. Other identical values, as a coarse metric gives on a few seeds, say
    nothing of their spread: they have no interval and no p (NaN). Values are identical, or zero,
    where they are so up to the rounding of what they were computed from.

    Args:
        values: (..., n), NaN where a seed is missing; the last axis is averaged.
        confidence: coverage asked for, between 0 and 1.
        scale: (...), size of the numbers that the values were computed from, such as the scores
            of which they are differences; None where they are no results of a subtraction.

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
    rounding = ROUNDING * (largest if scale is None else np.asarray(scale, dtype=np.float64))
    equal = squares <= count * rounding**2
    squares = np.where(equal, 0.0, squares)
    mean = np.where(equal & (np.abs(mean) <= rounding), 0.0, mean)
    sd = np.where(enough, np.sqrt(squares / np.where(enough, n - 1, 1)), np.nan)
    error = sd / np.sqrt(count)
    freedom = np.where(enough, n - 1, 1)
    half = stats.t.ppf(0.5 + confidence / 2, freedom) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean / error), freedom)
    p = np.where(enough & (error == 0), np.where(mean == 0, 1.0, np.nan), p)
    half = np.where(enough & (error == 0) & (mean != 0), np.nan, half)
    return Estimate(n, mean, sd, mean - half, mean + half, np.where(enough, p, np.nan))


def paired_interval(arms: ArrayLike, others: ArrayLike, confidence: float = 0.95) -> Estimate:
    """`t_interval` of differences arms - others, of which the rounding is that of the scores.

    Args:
        arms: (..., n) scores by seed, NaN where one is missing.
        others: the same, or broadcast to it, of what is compared with.
        confidence: coverage asked for.
    """
    a, b = np.asarray(arms, dtype=np.float64), np.asarray(others, dtype=np.float64)
    sizes = np.maximum(np.abs(a), np.abs(b))
    scale = np.where(np.isnan(sizes), 0.0, sizes).max(axis=-1, initial=0.0)
    return t_interval(a - b, confidence, scale)
