"""Percentile bootstrap of a mean over seeds, deterministic."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

FEWEST_SEEDS = 8
"""Below this many values the bootstrap distribution is too coarse to be worth showing."""


def bootstrap_interval(
    values: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 10_000,
    expanded: bool = True,
) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval of each row's mean (Efron 1979), resampling seeds.

    The plain percentile interval is too narrow for few values: it divides by n and knows no
    t quantile. `expanded` widens its levels to a' with z(a'/2) = sqrt(n/(n-1)) t(a/2, n-1), the
    "expanded percentile interval" of Hesterberg (The American Statistician 69, 2015). All rows
    of one length share their resampled indices, which depend on nothing but n.

    Args:
        values: (rows, n), NaN where a seed is missing.
        confidence: coverage asked for.
        resamples: how many times each row is drawn anew.
        expanded: whether to correct the levels for small n.

    Returns:
        Lower and upper ends, (rows,); NaN for rows of fewer than FEWEST_SEEDS values.
    """
    x = np.atleast_2d(np.asarray(values, dtype=np.float64))
    counts = (~np.isnan(x)).sum(axis=-1)
    low, high = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for n in np.unique(counts[counts >= FEWEST_SEEDS]):
        weights = _resampling_weights(int(n), resamples)
        levels = _levels(int(n), confidence, expanded)
        rows = np.flatnonzero(counts == n)
        for chunk in np.array_split(rows, -(-len(rows) // 256)):
            present = x[chunk]
            present = present[~np.isnan(present)].reshape(len(chunk), n)
            means = present @ weights
            low[chunk], high[chunk] = np.quantile(means, levels, axis=1)
    return low, high


def _resampling_weights(n: int, resamples: int) -> Floats:
    """Share of each of n values in each resample, (n, resamples)."""
    generator = np.random.default_rng([n, resamples])
    return generator.multinomial(n, np.full(n, 1 / n), size=resamples).T / n


def _levels(n: int, confidence: float, expanded: bool) -> tuple[float, float]:
    """Quantile levels of the interval's two ends."""
    tail = (1 - confidence) / 2
    if expanded:
        tail = float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(tail, n - 1)))
    return tail, 1 - tail
