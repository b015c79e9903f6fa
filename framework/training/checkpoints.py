"""Checkpoints that survive a kill: written beside, checked, renamed; the last two are kept."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

KEPT = 2


class Checkpoints:
    """The checkpoints of one run: `step-00000500.pt`, with its SHA-256 in a file beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step`, then drop all but the newest two."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self._path(step)
        beside = path.with_suffix(".pt.new")
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        _digest_path(path).write_text(f"{digest(beside)}  {path.name}\n")
        beside.rename(path)
        for old in self._saved()[:-KEPT]:
            old.unlink()
            _digest_path(old).unlink(missing_ok=True)

    def load(
        self, device: torch.device | str = "cpu", before: int | None = None
    ) -> dict[str, Any] | None:
        """Return the newest whole state, or the newest before a step; None where there is none.

        A damaged checkpoint is named in the log and the one before it is taken.
        """
        last = None if before is None else self._path(before)
        for path in reversed([path for path in self._saved() if last is None or path < last]):
            if _is_whole(path):
                return torch.load(path, map_location=device, weights_only=True)
            log.warning("%s is damaged: going back to the checkpoint before it", path)
        return None

    def newest(self) -> Path | None:
        """Return the file of the newest state, whole or not; None where there is none."""
        return next(reversed(self._saved()), None)

    def _path(self, step: int) -> Path:
        return self.directory / f"step-{step:08d}.pt"

    def _saved(self) -> list[Path]:
        return sorted(self.directory.glob("step-*.pt"))


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".pt.sha256")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(path: Path) -> bool:
    recorded = _digest_path(path)
    return recorded.exists() and recorded.read_text().split()[:1] == [digest(path)]
