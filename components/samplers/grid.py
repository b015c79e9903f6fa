"""Times at which a sampler stops."""

from __future__ import annotations

from torch import Tensor


def asked(nfe: int | None) -> int:
    """Return the number of evaluations that a sampler of fixed steps is asked to spend.

    Raises:
        ValueError: none is named.
    """
    if nfe is None:
        raise ValueError("a sampler of fixed steps wants to know their number, such as (1, 2, 4)")
    return nfe


def time_grid(steps: int, power: float) -> list[float]:
    """Return steps + 1 times from 1 to 0: (1 - i / steps)^power.

    A power above 1 stops more often near the data, one below 1 more often near the noise.

    Raises:
        ValueError: there is no step.
    """
    if steps < 1:
        raise ValueError(f"{steps} network evaluations: at least 1 is needed")
    return [(1 - i / steps) ** power for i in range(steps + 1)]


def grid_name(power: float) -> str:
    """Return what results call such times."""
    return "uniform" if power == 1 else f"power {power:g}"


def everywhere(time: float, noise: Tensor) -> Tensor:
    """Return a time for each sample of noise (B, ...), (B,) in the noise's precision."""
    return noise.new_full((len(noise),), time)
