"""Checkpoints that survive a kill: written beside, checked, renamed; the last two are kept."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.distribution import ALONE, World
from framework.errors import UserError
from framework.files import publish
from framework.training import shards
from framework.training.shards import Empty, digest

log = logging.getLogger(__name__)

KEPT = 2
_NAME = re.compile(r"step-\d{8}(\.pt)?")


def on_cpu(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return room for a whole tensor."""
    return torch.empty(shape, dtype=dtype)


class Checkpoints:
    """The checkpoints of one run: `step-00000500.pt`, with its SHA-256 in a file beside it.

    Where weights lie in shards it is a folder `step-00000500`, see `shards`. Whatever wrote one,
    any number of processes can load it. All processes of a run save and load together.
    """

    def __init__(self, directory: Path, world: World = ALONE) -> None:
        self.directory = directory
        self._world = world

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step`, then drop all but the newest two."""
        if self._world.leads:
            self.directory.mkdir(parents=True, exist_ok=True)
        if self._world.size > 1 and shards.are_in(state):
            self._save_folder(self.directory / f"step-{step:08d}", state)
        elif self._world.leads:
            self._save_file(self.directory / f"step-{step:08d}.pt", state)
        if self._world.leads:
            for old in self._saved()[:-KEPT]:
                _remove(old)
        self._world.wait()

    def load(
        self,
        device: torch.device | str = "cpu",
        before: int | None = None,
        empty: Empty = on_cpu,
    ) -> dict[str, Any] | None:
        """Return the newest whole state, or the newest before a step; None where there is none.

        A damaged checkpoint is named in the log and the one before it is taken. What lies in shards
        is read into what `empty` makes of shape and dtype.

        Raises:
            UserError: a process does not find what the first one has.
        """
        names = [path.name for path in self._saved()]
        for name in reversed(self._world.everyones(names)[0]):
            path = self.directory / name
            if before is not None and _step(path) >= before:
                continue
            found = self._world.everyones(path.exists())
            if not all(found):
                raise UserError(
                    f"{path} is not there for process {found.index(False)} of {len(found)}: let "
                    "all of them read and write one folder"
                )
            if self._is_whole(path):
                return self._read(path, device, empty)
            log.warning("%s is damaged: going back to the checkpoint before it", path)
        return None

    def _save_file(self, path: Path, state: dict[str, Any]) -> None:
        beside = path.with_suffix(".pt.new")
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        publish(_digest_path(path), f"{digest(beside)}  {path.name}\n")
        beside.rename(path)

    def _save_folder(self, path: Path, state: dict[str, Any]) -> None:
        beside = path.with_suffix(".new")
        if self._world.leads:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
        self._world.wait()
        shards.write(beside, state, self._world)
        if self._world.leads:
            if path.exists():
                _remove(path)  # the same step, saved again: a folder cannot be renamed over it
            beside.rename(path)

    def _is_whole(self, path: Path) -> bool:
        if path.suffix:
            return not self._world.any(self._world.leads and not _is_whole_file(path))
        return shards.are_intact(path, self._world)

    def _read(self, path: Path, device: torch.device | str, empty: Empty) -> dict[str, Any]:
        if not path.suffix:
            return shards.read(path, device, empty, self._world)
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        return state

    def newest(self) -> Path | None:
        """Return where the newest state lies, whole or not; None where there is none."""
        return next(reversed(self._saved()), None)

    def _saved(self) -> list[Path]:
        return sorted(p for p in self.directory.glob("step-*") if _NAME.fullmatch(p.name))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
        _digest_path(path).unlink(missing_ok=True)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".pt.sha256")


def _is_whole_file(path: Path) -> bool:
    return noted_digest(path) == digest(path)


def noted_digest(path: Path) -> str | None:
    """Return the SHA-256 that a checkpoint's file had when it was written, if that is noted."""
    noted = _digest_path(path)
    return noted.read_text().partition(" ")[0] if noted.exists() else None
