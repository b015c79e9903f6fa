"""Numbers as a reader wants them: as many digits as the noise allows, true minus signs."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

DASH = "\N{EN DASH}"
Span = tuple[float, float]
MINUS = "\N{MINUS SIGN}"


def decimals_for(spreads: Iterable[float], values: Iterable[float]) -> int:
    """Decimals that show two digits of the typical noise, four of the values without one."""
    known = [s for s in spreads if math.isfinite(s) and s > 0]
    if known:
        return int(np.clip(1 - math.floor(math.log10(float(np.median(known)))), 0, 8))
    sizes = [abs(v) for v in values if math.isfinite(v) and v != 0]
    if not sizes:
        return 2
    return int(np.clip(3 - math.floor(math.log10(float(np.median(sizes)))), 0, 8))


def fixed(value: float, decimals: int, signed: bool = False) -> str:
    """Write a number with fixed decimals; a dash for none."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def with_spread(mean: float, sd: float, decimals: int) -> str:
    """Write mean ± sd; the mean alone where one run gives no spread."""
    if not math.isfinite(mean):
        return DASH
    spread = f" ± {fixed(sd, decimals)}" if math.isfinite(sd) else ""
    return fixed(mean, decimals) + spread


def interval(low: float, high: float, decimals: int) -> str:
    """Write an interval as [low, high]; a dash for none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return DASH
    return f"[{fixed(low, decimals, True)}, {fixed(high, decimals, True)}]"


def probability(p: float) -> str:
    """Write a p-value with three decimals."""
    if p is None or not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float, decimals: int) -> str:
    """Write a share of the variance; one that no fit can tell from others has no number."""
    return f"{100 * share:.{decimals}f} %" if math.isfinite(share) else "cannot be estimated"


def duration(seconds: float) -> str:
    """Write seconds as the two largest units."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def quantity(value: float, unit: str) -> str:
    """Write an amount of steps, seconds or FLOPs with its unit."""
    if unit == "seconds":
        return duration(value)
    if unit == "FLOPs":
        return f"{value:.3g} FLOPs"
    return f"{value:,.0f} {unit}".replace(",", "\N{NO-BREAK SPACE}")


def shorten(text: str, width: int = 40) -> str:
    """Cut a long name in its middle, where arms of one grid differ least."""
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[-(width - 1 - head) :]}"


def readable_span(differences: pd.DataFrame) -> Span:
    """Ends of an axis for differences and intervals; a few extreme arms may leave it.

    Args:
        differences: columns difference, low, high; NaN where there is no interval.
    """
    ends = differences[["difference", "low", "high"]].to_numpy(float).ravel()
    ends = ends[np.isfinite(ends)]
    sizes = np.abs(ends)
    if not len(sizes) or sizes.max() == 0:
        return -1.0, 1.0
    typical = 4 * float(np.quantile(sizes, 0.8))
    ends = np.clip(ends, -typical, typical) if typical > 0 else ends
    low, high = min(float(ends.min()), 0.0), max(float(ends.max()), 0.0)
    margin = 0.06 * (high - low)
    return low - margin, high + margin
