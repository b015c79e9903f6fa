"""Main effects and two-way interactions of product grids."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .holm import holm
from .intervals import Estimate, t_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Factorial:
    """Effects in a product grid.

    Attributes:
        main: columns factor, level, effect, low, high, p, p_holm, mean (of the level).
        interactions: columns factor_a, level_a, factor_b, level_b, effect, low, high, p, p_holm.
        shares: index factor or 'a x b'; the share of the variance between cells it explains.
        cells: cells that entered.
        missing: cells left out because a seed of theirs has no score.
    """

    main: pd.DataFrame
    interactions: pd.DataFrame
    shares: pd.Series
    cells: int
    missing: int


def factorial_effects(
    matrix: pd.DataFrame, settings: pd.DataFrame, confidence: float = 0.95
) -> Factorial:
    """Estimate what each setting does by itself, and what pairs of settings do beyond that.

    Ordinary least squares with sum-to-zero coding, separately in every seed, then a t interval
    over seeds: seeds are blocks, so the noise that a seed's arms share drops out (a randomised
    block design; Montgomery, Design and Analysis of Experiments, ch. 4 and 5). In a complete
    grid the estimates are the differences between marginal means. Holm's correction runs over
    all levels (all pairs of levels, for interactions).

    Args:
        matrix: arms x seeds, NaN where there is no score; arms with a NaN are left out.
        settings: index arm, one column a factor, values as text.
        confidence: coverage of the intervals.

    Returns:
        Effects relative to the grid's mean. Where missing cells make something impossible to
        separate its numbers are NaN.
    """
    whole = matrix.dropna(axis=1, how="all")
    whole = whole[whole.notna().all(axis=1)]
    levels = settings.loc[whole.index].astype(str)
    factors = [name for name in levels.columns if levels[name].nunique() > 1]
    codes = {name: _coding(levels[name]) for name in factors}
    values = whole.to_numpy(float)
    additive = [np.ones((len(whole), 1)), *(codes[name][1] for name in factors)]
    main, shares = [], {}
    base = np.hstack(additive)
    for position, name in enumerate(factors):
        rest = np.hstack([block for k, block in enumerate(additive) if k != position + 1])
        effects, share = _term(values, rest, codes[name][1], _expand(len(codes[name][0])))
        shares[name] = share
        main.append(_main_rows(name, codes[name][0], levels[name], effects, values, confidence))
    pairs = []
    for a, b in combinations(factors, 2):
        (names_a, x), (names_b, y) = codes[a], codes[b]
        product = (x[:, :, None] * y[:, None, :]).reshape(len(x), -1)
        expand: Floats = np.kron(_expand(len(names_a)), _expand(len(names_b))).astype(np.float64)
        effects, shares[f"{a} x {b}"] = _term(values, base, product, expand)
        estimate = t_interval(effects, confidence, _size(values))
        pairs.append(_pair_rows(a, names_a, b, names_b, estimate))
    return Factorial(
        _corrected(main), _corrected(pairs), pd.Series(shares, dtype=float),
        len(whole), len(matrix) - len(whole),
    )  # fmt: skip


def _coding(column: pd.Series) -> tuple[list[str], Floats]:
    """Levels of a factor in order of appearance, and its sum-to-zero columns."""
    levels = [str(level) for level in pd.unique(column)]
    index = column.map({level: k for k, level in enumerate(levels)}).to_numpy(int)
    return levels, _expand(len(levels))[index]


def _expand(n: int) -> Floats:
    """(n, n-1): effects of n levels from the n-1 free ones; the last is minus their sum."""
    return np.vstack([np.eye(n - 1), -np.ones((1, n - 1))])


def _term(values: Floats, rest: Floats, term: Floats, expand: Floats) -> tuple[Floats, float]:
    """Effects of one term given the others, (levels, seeds), and its share of variance."""
    design = np.hstack([rest, term])
    # Without all cells of a term its columns depend on the others': no data tells them apart.
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return np.full((len(expand), values.shape[1]), np.nan), float("nan")
    solution = np.linalg.lstsq(design, values, rcond=None)[0][rest.shape[1] :]
    average = values.mean(axis=1)
    total = float(((average - average.mean()) ** 2).sum())
    lost = [_squares(average, block) for block in (rest, design)]
    return expand @ solution, (lost[0] - lost[1]) / total if total > 0 else float("nan")


def _squares(values: Floats, design: Floats) -> float:
    """Residual sum of squares of a least-squares fit."""
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(((values - fitted) ** 2).sum())


def _size(values: Floats) -> float:
    """Return the size of the scores that effects are fitted to, and with it their rounding."""
    return float(np.abs(values).max(initial=0.0))


def _main_rows(
    factor: str,
    levels: list[str],
    column: pd.Series,
    effects: Floats,
    values: Floats,
    confidence: float,
) -> pd.DataFrame:
    estimate = t_interval(effects, confidence, _size(values))
    means = [float(values[(column == level).to_numpy()].mean()) for level in levels]
    return pd.DataFrame(
        {
            "factor": factor,
            "level": levels,
            "effect": estimate.mean,
            "low": estimate.low,
            "high": estimate.high,
            "p": estimate.p,
            "mean": means,
        }
    )


def _pair_rows(
    a: str, levels_a: list[str], b: str, levels_b: list[str], estimate: Estimate
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "factor_a": a,
            "level_a": np.repeat(levels_a, len(levels_b)),
            "factor_b": b,
            "level_b": np.tile(levels_b, len(levels_a)),
            "effect": estimate.mean,
            "low": estimate.low,
            "high": estimate.high,
            "p": estimate.p,
        }
    )


def _corrected(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Put the parts of one family together and correct its p-values."""
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    table["p_holm"] = holm(table["p"].to_numpy(float))
    return table
