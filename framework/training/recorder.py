"""The last steps of a run, kept on the device: for means in the log, and for what led to a NaN."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

LENGTH = 64
"""Steps that are kept of what led to a divergence."""
RING = 2 * LENGTH
"""Steps on the device: looked at every 64 steps, it still holds the 64 before the first NaN."""


class Recorder:
    """A ring of the scalars of the last 128 steps; reading it is the only synchronisation.

    The names are those of the first step recorded; a step that lacks one has NaN there.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._names: list[str] = []
        self._ring = torch.full((RING, 0), torch.nan, device=device)

    def record(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Keep the 0-d tensors of step number `step` (from 1)."""
        if not self._names:
            self._names = list(values)
            self._ring = torch.full((RING, len(values)), torch.nan, device=self._device)
        if not values.keys() >= set(self._names):
            values = dict.fromkeys(self._names, self._ring.new_full((), math.nan)) | dict(values)
        row = torch.stack([values[name].detach().float() for name in self._names])
        self._ring[step % RING] = row

    def means(self, step: int, count: int) -> dict[str, float]:
        """Return each scalar's mean over the last `count` steps up to `step` (64 at most)."""
        rows = [(step - back) % RING for back in range(min(count, step, LENGTH))]
        means = self._ring[rows].double().mean(dim=0).tolist()
        return dict(zip(self._names, means, strict=True))

    def broken(self, step: int, watched: Collection[str]) -> tuple[int, list[str]] | None:
        """Return the first recorded step up to `step` at which a watched scalar is not finite.

        Returns:
            the step and the names of those scalars; None where all are finite.
        """
        for k, values in self._rows(step, RING):
            names = [name for name in watched if not math.isfinite(values[name])]
            if names:
                return k, names
        return None

    def history(self, step: int) -> list[tuple[int, dict[str, float]]]:
        """Return the last 64 recorded steps up to `step`, oldest first."""
        return self._rows(step, LENGTH)

    def _rows(self, step: int, count: int) -> list[tuple[int, dict[str, float]]]:
        ring = self._ring.tolist()
        return [
            (k, dict(zip(self._names, ring[k % RING], strict=True)))
            for k in range(max(1, step - count + 1), step + 1)
        ]

    def state_dict(self) -> dict:
        """Return the ring and its names."""
        return {"names": list(self._names), "ring": self._ring}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned."""
        self._names = list(state["names"])
        self._ring = state["ring"].to(self._device)
