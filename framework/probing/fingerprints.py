"""What a probed run did, small enough to send and to compare: digests and a few values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SKETCH = 256

DATA = "data"
NOISE = "noise"
LATENTS = "latents"
TIMES = "times"
GUIDANCE = "guidance"
INITIAL = "initial weights"
LOSSES = "losses"
GRADIENTS = "gradients"
OPTIMIZER = "optimizer state"
RATE = "learning rate"
CLIPPING = "clipping"
AVERAGES = "averages"
WEIGHTS = "weights"
LATER = "later updates"
SAMPLES = "samples"
SCORES = "scores"
EVALUATION = "evaluation"
LENGTH = "length"

GROUPS = (
    DATA, NOISE, TIMES, GUIDANCE, LATENTS, INITIAL, LOSSES, GRADIENTS, RATE, OPTIMIZER, CLIPPING,
    AVERAGES, WEIGHTS, LATER, SAMPLES, SCORES, EVALUATION, LENGTH,
)  # fmt: skip
"""What is compared, in the order in which a run comes to it."""

DRAWN = (TIMES, GUIDANCE)
"""Groups whose entries are sets of draws: their names say nothing, a draw may be asked for by
several queries or by none."""


@dataclass(frozen=True)
class Entry:
    """A tensor: the digest of its bits, some of its values and their number."""

    digest: str
    sketch: tuple[float, ...] = ()

    @classmethod
    def of(cls, value: Tensor) -> Entry:
        """Return the entry of a tensor of any dtype."""
        x = value.detach().cpu().contiguous().reshape(-1)
        kind = f"{value.dtype}{tuple(value.shape)}".encode()
        digest = hashlib.blake2b(kind + x.view(torch.uint8).numpy().tobytes(), digest_size=16)
        stride = max(1, len(x) // SKETCH)
        return cls(digest.hexdigest(), tuple(x[::stride][:SKETCH].double().tolist()))

    @classmethod
    def of_text(cls, value: object) -> Entry:
        """Return the entry of a plain value."""
        return cls(hashlib.blake2b(repr(value).encode(), digest_size=16).hexdigest())


Group = dict[str, Entry]


class Fingerprint:
    """Entries by group and name."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {name: {} for name in GROUPS}

    def add(self, group: str, name: str, value: Tensor) -> None:
        """Take in a tensor; in a group of draws its name is its digest."""
        entry = Entry.of(value)
        self.groups[group][entry.digest if group in DRAWN else name] = entry

    def add_all(self, group: str, prefix: str, values: Iterable[tuple[str, Tensor]]) -> None:
        """Take in named tensors."""
        for name, value in values:
            self.add(group, f"{prefix}{name}", value)

    def say(self, group: str, name: str, value: object) -> None:
        """Take in a plain value."""
        self.groups[group][name] = Entry.of_text(value)

    @property
    def digest(self) -> str:
        """Return what two runs have in common only if they did the same."""
        lines = [
            f"{group}/{name}={entries[name].digest}"
            for group, entries in self.groups.items()
            for name in sorted(entries)
        ]
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()

    def differing(self, other: Fingerprint) -> list[str]:
        """Return the groups that are not the same to the last bit, in order."""
        return [
            name for name in GROUPS if _digests(self.groups[name]) != _digests(other.groups[name])
        ]

    def redrawn(self, other: Fingerprint, group: str) -> bool:
        """Return whether what both have of a group of draws or weights is not the same.

        Weights and draws that only one of them has are no change; of draws asked for by queries,
        one run may have more.
        """
        mine, others = _digests(self.groups[group]), _digests(other.groups[group])
        if group in DRAWN:
            return not (mine.keys() <= others.keys() or others.keys() <= mine.keys())
        common = mine.keys() & others.keys()
        if not common:
            return bool(mine and others)
        return any(mine[name] != others[name] for name in common)

    def distance(self, other: Fingerprint, group: str) -> float:
        """Return the largest relative distance, in the 2-norm, between tensors of a group."""
        mine, others = self.groups[group], other.groups[group]
        if mine.keys() != others.keys():
            return float("inf")
        return max((_distance(mine[name], others[name]) for name in mine), default=0.0)


def _digests(group: Mapping[str, Entry]) -> dict[str, str]:
    return {name: entry.digest for name, entry in group.items()}


def _distance(one: Entry, other: Entry) -> float:
    if one.digest == other.digest:
        return 0.0
    a, b = np.array(one.sketch), np.array(other.sketch)
    if a.shape != b.shape or not a.size:
        return float("inf")
    scale = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)), 1e-12)
    return float(np.linalg.norm(a - b)) / scale
