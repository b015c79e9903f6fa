"""Scores: one number a run, and their summary over seeds."""

from typing import Literal

import numpy as np
import pandas as pd

Direction = Literal["lower", "higher"]
"""Which way a metric improves."""


def orient(direction: Direction) -> float:
    """Return the sign that turns a metric into 'larger is better'."""
    return 1.0 if direction == "higher" else -1.0


def score_matrix(scores: pd.DataFrame) -> pd.DataFrame:
    """Lay scores out as arms x seeds, NaN where a run has none.

    Args:
        scores: columns arm, seed, value; one row a run, arms in the order to keep.

    Raises:
        ValueError: two rows for one (arm, seed), which averaging would hide.
    """
    arms = pd.unique(scores["arm"].astype(object))
    if scores.duplicated(["arm", "seed"]).any():
        twice = scores[scores.duplicated(["arm", "seed"])].iloc[0]
        raise ValueError(f"two scores for arm {twice['arm']!r}, seed {twice['seed']}")
    matrix = scores.astype({"arm": object}).pivot(index="arm", columns="seed", values="value")
    return matrix.reindex(arms).astype(float)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (ddof 1) over seeds; one row an arm.

    Returns:
        Index arm; columns mean, sd (NaN with fewer than two runs), n.
    """
    matrix = score_matrix(scores)
    n = matrix.notna().sum(axis=1)
    return pd.DataFrame(
        {
            "mean": matrix.mean(axis=1),
            "sd": matrix.std(axis=1, ddof=1),
            "n": n.astype(np.int64),
        }
    )
