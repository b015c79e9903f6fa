"""Arms as figures name them: short enough for an axis, and never two alike."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

from ..analysis import BASELINE
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

    def marked(self, arm: str, baseline: str | None) -> str:
        """An arm's label, which says that it is the baseline unless that is its name."""
        mark = " (baseline)" if arm == baseline and arm != BASELINE else ""
        return self.of[arm] + mark


def arm_labels(arms: Iterable[str]) -> Labels:
    """Name arms by what they do not have in common.

    The arms of a product grid go by their values alone: 'decay=0.9,lr=0.001' becomes
    '0.9 · 0.001', and `keys` 'decay · lr'. Other names that are too long lose the words that all of
    these begin with. What is still too long is cut in its middle; where that makes two alike, each
    label begins with its arm's number in the ranked table.

    Args:
        arms: all of a grid's, in the order of the ranked table.
    """
    names = list(arms)
    keys, values = _by_values(names)
    others = [name for name in names if name not in values and len(name) > WIDTH]
    shared = len(_shared_words(others))
    rests = {name: f"…{name[shared:]}" for name in others if shared}
    of = {name: shorten(values.get(name, rests.get(name, name)), WIDTH) for name in names}
    if len(set(of.values())) < len(of):
        of = {name: f"#{number} {label}" for number, (name, label) in enumerate(of.items(), 1)}
    return Labels(keys, of)


def _by_values(names: list[str]) -> tuple[str, dict[str, str]]:
    """The keys of a product's arms, and the values of each; nothing where keys differ."""
    parts = {name: [part.partition("=") for part in name.split(",")] for name in names}
    product = {
        name: found
        for name, found in parts.items()
        if all(equals for _, equals, _ in found) and (len(found) > 1 or len(name) > WIDTH)
    }
    keys = {tuple(key for key, _, _ in found) for found in product.values()}
    if len(product) < 2 or len(keys) > 1:
        return "", {}
    values = {name: " · ".join(value for _, _, value in found) for name, found in product.items()}
    return " · ".join(keys.pop()), values


def _shared_words(names: list[str]) -> str:
    """The whole words that several names begin with."""
    if len(names) < 2:
        return ""
    words = [re.findall("[A-Za-z0-9]*[^A-Za-z0-9]", name) for name in names]
    same = takewhile(lambda several: len(set(several)) == 1, zip(*words, strict=False))
    return "".join(first for first, *_ in same)


def level(text: str) -> str:
    """A setting's value without what is the same for all of its kind: '@samplers.gap()' is gap."""
    if not text.startswith("@"):
        return text
    return text.removesuffix("()").rpartition(".")[2].removeprefix("@")
