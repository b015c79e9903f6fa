"""From estimates to words: better, worse, or how many more seeds would tell."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from .intervals import Estimate
from .scores import Direction, orient

MANY = 100
"""Above this many further seeds the answer is that the difference is small, not the number."""


def seeds_needed(
    effect: ArrayLike, alpha: ArrayLike = 0.05, power: float = 0.8
) -> NDArray[np.float64]:
    """Seeds that a paired two-sided t-test needs to see an effect with the given power.

    n = ((z(1 - a/2) + z(power)) / effect)² + z(1 - a/2)² / 2, the normal approximation with
    Guenther's correction for the t quantile (The American Statistician 35, 1981).

    Args:
        effect: mean difference divided by the standard deviation of the differences.
        alpha: level of the test.
        power: chance of seeing the effect when it is there.

    Returns:
        Seeds, rounded up; infinite for a zero effect.
    """
    size = np.abs(np.asarray(effect, dtype=np.float64))
    z = stats.norm.ppf(1 - np.asarray(alpha, dtype=np.float64) / 2)
    with np.errstate(divide="ignore"):
        n = ((z + stats.norm.ppf(power)) / size) ** 2 + z**2 / 2
    return np.ceil(n)


def verdicts(
    estimate: Estimate, p_corrected: NDArray[np.float64], direction: Direction, alpha: float = 0.05
) -> tuple[list[str], NDArray[np.float64]]:
    """Say in words what each difference to the baseline shows.

    'better' and 'worse' stand on the corrected p-value. Otherwise the seeds still missing are
    estimated from the observed effect, at the level that the first step of Holm's procedure
    gives to the comparisons still open: a guess from noisy data, hence 'about'.

    Args:
        estimate: differences arm - baseline, one entry an arm.
        p_corrected: their corrected p-values.
        direction: which way the metric improves.
        alpha: level of the test.

    Returns:
        A verdict an arm, and the further seeds asked for (NaN where none are).
    """
    undecided = (p_corrected >= alpha) & (estimate.n >= 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = estimate.mean / estimate.sd
    wanted = seeds_needed(effect, alpha / max(int(undecided.sum()), 1))
    more = np.where(undecided, np.maximum(wanted - estimate.n, 1.0), np.nan)
    more = np.where(estimate.n == 1, np.nan, more)
    gains = orient(direction) * estimate.mean
    words = [
        _word(int(n), float(gain), float(sd), float(p), float(further), alpha)
        for n, gain, sd, p, further in zip(
            estimate.n, gains, estimate.sd, p_corrected, more, strict=True
        )
    ]
    return words, more


def _word(n: int, gain: float, sd: float, p: float, more: float, alpha: float) -> str:
    """One verdict from one comparison; gain is positive where the arm is better."""
    if n == 0:
        return "no seed in common"
    if n == 1:
        return "identical so far" if gain == 0 else "cannot tell: one seed"
    if gain == 0 and sd == 0:
        return "identical"
    if sd == 0:
        return f"cannot tell: the same difference in all {n} seeds"
    if p < alpha:
        return "better" if gain > 0 else "worse"
    if more > MANY:
        return f"cannot tell: over {MANY} more seeds"
    return f"cannot tell: about {more:.0f} more seed{'s' if more > 1 else ''}"
