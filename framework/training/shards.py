"""A checkpoint as a folder that several processes write together (torch.distributed.checkpoint).

`__R_0.distcp` holds what process R has of the tensors that lie in shards, `.metadata` where each
part is, `rest.pt` everything else, and `sha256` a digest of each of those files. Any number of
processes reads it, one as well. What takes a second to import is imported where it is needed.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.distribution import World
from framework.distribution.trees import mapped

Empty = Callable[[torch.Size, torch.dtype], Tensor]

REST, DIGESTS = "rest.pt", "sha256"
_ELSEWHERE = "in shards: "  # what stands in the rest for a tensor, before its name


def are_in(state: dict[str, Any]) -> bool:
    """Return whether tensors of a state lie in shards."""
    from torch.distributed.tensor import DTensor

    found: list[bool] = []
    mapped(state, lambda _, value: found.append(isinstance(value, DTensor)))
    return any(found)


def write(folder: Path, state: dict[str, Any], world: World) -> None:
    """Write this process's part of a state into an empty folder; all processes do.

    When it returns in the first process, everything is on disk.
    """
    from torch.distributed.checkpoint import filesystem, state_dict_saver
    from torch.distributed.tensor import DTensor

    shards: dict[str, DTensor] = {}

    def put_aside(path: str, value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        shards[path] = value
        return _ELSEWHERE + path

    rest = mapped(state, put_aside)
    state_dict_saver.save(shards, storage_writer=filesystem.FileSystemWriter(folder))
    if world.leads:
        with (folder / REST).open("wb") as file:
            torch.save(rest, file)
            file.flush()
            os.fsync(file.fileno())
    own = {path.name: digest(path) for path in sorted(folder.iterdir()) if _is_of(path, world)}
    lines = [f"{value}  {name}\n" for part in world.everyones(own) for name, value in part.items()]
    if world.leads:
        (folder / DIGESTS).write_text("".join(lines))


def are_intact(folder: Path, world: World) -> bool:
    """Return whether all files of a folder are as they were written; processes share the work."""
    recorded = folder / DIGESTS
    lines = recorded.read_text().splitlines() if recorded.exists() else []
    pairs = [line.split("  ", 1) for line in lines]
    own = pairs[world.rank :: world.size]
    good = bool(lines) and all(
        len(pair) == 2 and (folder / pair[1]).exists() and digest(folder / pair[1]) == pair[0]
        for pair in own
    )
    return not world.any(not good)


def read(folder: Path, device: torch.device | str, empty: Empty, world: World) -> dict[str, Any]:
    """Return the state in a folder; what was in shards is read into what `empty` makes."""
    from torch.distributed.checkpoint import filesystem, state_dict_loader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    reader = filesystem.FileSystemReader(folder)
    known = reader.read_metadata().state_dict_metadata
    shards = {
        name: empty(entry.size, entry.properties.dtype)
        for name, entry in known.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    with warnings.catch_warnings():  # that one process reads is what it is told to
        warnings.filterwarnings("ignore", message=".*load in a single process")
        state_dict_loader.load(shards, storage_reader=reader, no_dist=world.size == 1)
    rest = torch.load(folder / REST, map_location=device, weights_only=True)

    def put_back(_: str, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(_ELSEWHERE):
            return shards[value.removeprefix(_ELSEWHERE)]
        return value

    state: dict[str, Any] = mapped(rest, put_back)
    return state


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_of(path: Path, world: World) -> bool:
    """Return whether this process wrote a file of the folder."""
    if path.name.startswith("__"):
        return path.name.startswith(f"__{world.rank}_")
    return world.leads
