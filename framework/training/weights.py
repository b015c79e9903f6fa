"""Weights from elsewhere: where they lie, what they are by content, whether they fit a model."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from framework.distribution import ALONE
from framework.errors import UserError
from framework.training import shards
from framework.training.checkpoints import Checkpoints, noted_digest, on_cpu

CHECKPOINTS = "checkpoints"
EVALUATION = "evaluation"
SAFETENSORS = ".safetensors"
Weights = Mapping[str, Tensor]

_BY_CONTENT = "@sha256:"


def pin(place: str) -> str:
    """Return `FILE@sha256:DIGEST` for a run's folder (its newest checkpoint), or a file of weights.

    A checkpoint that is a folder of shards goes as a file, by the digest of its list of digests.

    What is pinned already stays as it is.

    Raises:
        UserError: there is nothing of that kind.
    """
    if _BY_CONTENT in place:
        return place
    path = Path(place).expanduser()
    file = path
    if path.is_dir() and not _in_shards(path):
        file = Checkpoints(path / CHECKPOINTS).newest() or path
    if not (file.is_file() or _in_shards(file)):
        raise UserError(
            "no weights there: name a run's folder with a checkpoint in it, a checkpoint "
            f"(step-00000500.pt) or a {SAFETENSORS} file"
        )
    return f"{file}{_BY_CONTENT}{_digest(file)}"


def content(pinned: str) -> str:
    """Return the digest of pinned weights: they are the same wherever they lie."""
    return pinned.rpartition(_BY_CONTENT)[2]


def read_for(expected: Weights, pinned: str) -> dict[str, Tensor]:
    """Return the evaluation weights of a pinned file for a model with these weights.

    Raises:
        UserError: they cannot be read, or are not those of such a model.
    """
    found = read(pinned)
    try:
        check(found, expected)
    except UserError as error:
        raise UserError(f"train.start: {error}") from error
    return found


def read(pinned: str) -> dict[str, Tensor]:
    """Return the evaluation weights of a pinned file, on the CPU.

    Raises:
        UserError: the file is gone, has other contents by now, or holds no weights.
    """
    place, _, wanted = pinned.rpartition(_BY_CONTENT)
    file = Path(place)
    if not file.exists():
        raise UserError(f"train.start: {file} is gone: put it back, or name other weights")
    if _digest(file) != wanted:
        raise UserError(
            f"train.start: {file} has changed since this run was set up: name its weights again"
        )
    if file.suffix == SAFETENSORS:
        return read_safetensors(file)[0]
    if _in_shards(file):
        return _read_shards(file)
    if noted_digest(file) not in (None, wanted):
        raise _damaged(file)
    try:
        held: dict[str, Tensor] = torch.load(
            file, map_location="cpu", weights_only=True, mmap=True
        )["averages"][EVALUATION]
    except (KeyError, TypeError, RuntimeError, OSError, pickle.UnpicklingError) as error:
        raise UserError(f"train.start: {file} is no checkpoint of a run") from error
    return held


def _in_shards(path: Path) -> bool:
    return (path / shards.DIGESTS).is_file()


def _damaged(place: Path) -> UserError:
    return UserError(f"train.start: {place} is damaged: name other weights")


def _read_shards(folder: Path) -> dict[str, Tensor]:
    if not shards.are_intact(folder, ALONE):
        raise _damaged(folder)
    held: dict[str, Tensor] = shards.read(folder, "cpu", on_cpu, ALONE)["averages"][EVALUATION]
    return held


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights of a safetensors file, on the CPU, and its metadata.

    Raises:
        UserError: it is damaged or of another format.
    """
    try:
        with safe_open(file, framework="pt") as held:
            return {name: held.get_tensor(name) for name in held.keys()}, held.metadata() or {}  # noqa: SIM118  it is no dictionary
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} is damaged or no safetensors file: {error}") from error


def check(weights: Weights, expected: Weights) -> None:
    """Compare names and shapes of weights with a model's.

    Raises:
        UserError: they differ, or a number is not finite.
    """
    missing, strange = sorted(expected.keys() - weights.keys()), weights.keys() - expected.keys()
    for names, what in ((missing, "lack"), (sorted(strange), "have, unlike the model,")):
        if names:
            raise UserError(f"the weights {what} {', '.join(names[:3])} ({len(names)} in all)")
    for name, weight in weights.items():
        if weight.shape != expected[name].shape:
            raise UserError(
                f"{name} has the shape {tuple(weight.shape)} in the file, and "
                f"{tuple(expected[name].shape)} in the run's model"
            )
        if not bool(weight.isfinite().all()):
            raise UserError(f"{name} holds NaN or infinity")


def _digest(file: Path) -> str:
    if _in_shards(file):
        file = file / shards.DIGESTS
    seen = file.stat()
    return _digest_of_version(file, seen.st_mtime_ns, seen.st_size)


@lru_cache(maxsize=64)
def _digest_of_version(file: Path, modified: int, size: int) -> str:
    """Return the SHA-256 of a file, computed once for each version of it."""
    return shards.digest(file)
