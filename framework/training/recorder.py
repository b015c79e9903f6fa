"""The last steps of a run, kept on the device: for means in the log, and for what led to a NaN."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

LENGTH = 64
"""Steps that are kept of what led to a divergence."""
RING = 2 * LENGTH
"""Steps on the device: looked at every 64 steps, it still holds the 64 before the first NaN."""
TOTAL = "loss/total"
PART = "loss/"


class Recorder:
    """A ring of the scalars of the last 128 steps; reading it is the only synchronisation.

    A step that lacks a name which another has is NaN there.

    Args:
        device: where the run computes.
        begun: steps that weights from elsewhere have behind them, of which nothing is known.
    """

    def __init__(self, device: torch.device, begun: int = 0) -> None:
        self._device = device
        self._begun = begun
        self._names: list[str] = []
        self._ring = torch.full((RING, 0), torch.nan, device=device)

    def record(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Keep the 0-d tensors of step number `step` (from 1)."""
        new = [name for name in values if name not in self._names]
        if new:
            self._names += new
            self._ring = pad(self._ring, (0, len(new)), value=math.nan)
        if len(values) < len(self._names):
            values = dict.fromkeys(self._names, self._ring.new_full((), math.nan)) | dict(values)
        row = torch.stack([values[name].detach().float() for name in self._names])
        self._ring[step % RING] = row

    def means(self, step: int, count: int) -> dict[str, float]:
        """Return each scalar's mean over the last `count` steps up to `step` (64 at most).

        A part of the loss is NaN at a step none of whose samples has it: this step does not count,
        and a part that none of the steps has is left out. Where the loss itself is not finite, a
        part that is NaN broke, and shows.
        """
        known = min(count, step - self._begun, LENGTH)
        rows = self._ring[[(step - k) % RING for k in range(known)]]
        columns = dict(zip(self._names, rows.double().cpu().unbind(dim=1), strict=True))
        finite = columns[TOTAL].isfinite()
        means = {}
        for name, column in columns.items():
            absent = column.isnan() & finite & name.startswith(PART)
            if not absent.all():
                means[name] = float(column[~absent].mean())
        return means

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
            for k in range(max(self._begun, step - count) + 1, step + 1)
        ]

    def state_dict(self) -> dict:
        """Return the ring, its names, and where it begins."""
        return {"names": list(self._names), "ring": self._ring, "begun": self._begun}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned."""
        self._names = list(state["names"])
        self._ring = state["ring"].to(self._device)
        self._begun = state.get("begun", 0)  # which older checkpoints lack
