"""Correction for comparing many arms with one baseline."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values (Scandinavian Journal of Statistics 6, 1979).

    The k-th smallest of m becomes max over j <= k of min(1, (m - j + 1) p_(j)). The chance of
    calling even one of the equal arms different stays below the level, whatever the dependence
    between arms (they share a baseline).

    Args:
        p_values: (m,); NaN marks a comparison that could not be made and does not count.

    Returns:
        (m,) adjusted values, NaN where the input was.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted
