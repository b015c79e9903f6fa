"""The last steps of a run, kept on the device: for means in the log, and for what led to a NaN."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

LENGTH = 64


class Recorder:
    """A ring of the scalars of the last 64 steps; reading it is the only synchronisation.

    The names are those of the first step recorded.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._names: list[str] = []
        self._ring = torch.full((LENGTH, 0), torch.nan, device=device)

    def record(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Keep the 0-d tensors of step number `step` (from 1)."""
        if not self._names:
            self._names = list(values)
            self._ring = torch.full((LENGTH, len(values)), torch.nan, device=self._device)
        row = torch.stack([values[name].detach().float() for name in self._names])
        self._ring[step % LENGTH] = row

    def means(self, step: int, count: int) -> dict[str, float]:
        """Return each scalar's mean over the last `count` steps up to `step` (64 at most)."""
        rows = [(step - back) % LENGTH for back in range(min(count, step, LENGTH))]
        means = self._ring[rows].double().mean(dim=0).tolist()
        return dict(zip(self._names, means, strict=True))

    def history(self, step: int) -> list[tuple[int, dict[str, float]]]:
        """Return the recorded steps up to `step`, oldest first."""
        first = max(1, step - LENGTH + 1)
        ring = self._ring.tolist()
        return [
            (k, dict(zip(self._names, ring[k % LENGTH], strict=True)))
            for k in range(first, step + 1)
        ]

    def state_dict(self) -> dict:
        """Return the ring and its names."""
        return {"names": list(self._names), "ring": self._ring}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned."""
        self._names = list(state["names"])
        self._ring = state["ring"].to(self._device)
