"""Arms as figures name them: short enough for an axis, and never two alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..numbers import shorten

WIDTH = 34


@dataclass(frozen=True)
class Labels:
    """Labels of all arms of a grid.

    Attributes:
        keys: what the values of a label stand for, in its order; empty where labels say it.
        of: arm -> its label.
    """

    keys: str
    of: Mapping[str, str]


def arm_labels(arms: Iterable[str]) -> Labels:
    """Name arms by their values alone where all have the same settings, as in a product grid.

    'decay=0.9,lr=0.001' becomes '0.9 · 0.001', and `keys` 'decay · lr'; names of another kind are
    cut in their middle.
    """
    names = list(arms)
    parts = {name: [part.partition("=") for part in name.split(",")] for name in names}
    keys = {tuple(key for key, _, _ in found) for found in parts.values()}
    regular = all(equals for found in parts.values() for _, equals, _ in found)
    if len(names) < 2 or not regular or len(keys) > 1 or len(next(iter(keys))) < 2:
        return Labels("", {name: shorten(name, WIDTH) for name in names})
    values = {name: " · ".join(value for _, _, value in found) for name, found in parts.items()}
    return Labels(" · ".join(next(iter(keys))), {n: shorten(v, WIDTH) for n, v in values.items()})


def level(text: str) -> str:
    """A setting's value without what is the same for all of its kind: '@samplers.gap()' is gap."""
    if not text.startswith("@"):
        return text
    return text.removesuffix("()").rpartition(".")[2].removeprefix("@")
