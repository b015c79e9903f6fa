"""Block shapes by kernel, device, shape class and dtype: built-in choices, and tuned ones.

A run pays no tuning by itself: what is not in the table of tuned settings comes from fixed
rules. `kernels.tune` (see measure.py) fills the table on request; `export` and `load` carry it
from one process to another as plain data.
"""

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

# Triton's kernels: the forward; the backward's query pass; its key pass in one or in two halves,
# of which "key_k" is left to Gluon, which has no settings, where hopper.takes it.
KERNELS = ("forward", "query", "key", "key_k", "key_v")


@dataclass(frozen=True)
class Settings:
    """How one kernel is launched.

    Attributes:
        block_m: queries a block.
        block_n: keys a block.
        warps: warps a program.
        stages: depth of the software pipeline.
        tma: 1 to load through tensor descriptors where alignment and GPU allow it.
    """

    block_m: int
    block_n: int
    warps: int
    stages: int
    tma: int = 0


@dataclass(frozen=True)
class Case:
    """What settings depend on.

    Attributes:
        kernel: one of KERNELS.
        device: the GPU's name, or "interpreter".
        dtype: of q, k and v.
        head: head size rounded up to a power of two.
        length: shape class, the larger token count rounded up to a power of two, 64 to 8192.
        causal: whether the causal mask is on.
        tangents: how many of tq, tk, tv there are.
    """

    kernel: str
    device: str
    dtype: torch.dtype
    head: int
    length: int
    causal: bool
    tangents: int

    def key(self) -> str:
        """A stable text form, the key of exported tables."""
        dtype = str(self.dtype).removeprefix("torch.")
        mask = "causal" if self.causal else "full"
        return (
            f"{self.device}/{self.kernel}/{dtype}/d{self.head}/n{self.length}/{mask}"
            f"/t{self.tangents}"
        )


_tuned: dict[str, Settings] = {}
# What launches worked out from their settings; emptied when settings change.
remembered: dict[Hashable, Any] = {}
_REMEMBERED_LIMIT = 4096


def length_class(n: int) -> int:
    """The shape class of a token count: powers of two from 64 to 8192."""
    return 1 << min(13, max(6, (n - 1).bit_length()))


def choose(case: Case) -> Settings:
    """The tuned settings of a case if there are any, else the built-in ones."""
    return _tuned.get(case.key()) or built_in(case)


def remember(key: Hashable, plan: object) -> None:
    """Keep in `remembered` what follows from the settings of now."""
    if len(remembered) >= _REMEMBERED_LIMIT:
        remembered.clear()
    remembered[key] = plan


def key_kernels(D: int) -> tuple[str, ...]:
    """The key pass in one kernel, or in two where its four sums do not fit the registers."""
    return ("key",) if D <= 64 else ("key_v", "key_k")


def built_in(case: Case) -> Settings:
    """Settings by rule: they fit shared memory and registers of every case, deterministically."""
    if case.device == "interpreter":
        return Settings(32, 16, 4, 1)  # small and unequal, so that short tests cross blocks
    if case.dtype == torch.float32:
        return _float32(case)
    if case.head == 256:
        return _head_256(case)
    if case.head == 128:
        return _head_128(case)
    return _head_64(case)


def _float32(case: Case) -> Settings:
    """Operands widened to float64 fill the registers: few rows, many warps."""
    if case.head <= 64:  # measured on an H200: 8 to 20 % less time than 16 rows
        return Settings(32, 32, 8, 1)
    other = 32 if case.head <= 128 else 16
    own_keys = case.kernel.startswith("key")
    return Settings(other, 16, 8, 1) if own_keys else Settings(16, other, 8, 1)


def _head_64(case: Case) -> Settings:
    """Measured at 8192 tokens on an H200: descriptors gain 7 and 10 % in the backward's passes.

    In the forward they lose 3 to 11 %, and below 1024 tokens their 30 microseconds on the host
    show; without them the query pass spills at 64 x 64: 5 % more time at 256 tokens.
    """
    tma = int(case.length >= 1024)
    return {
        "forward": Settings(64, 64, 4, 3),
        "query": Settings(64, 64, 4, 2, tma) if tma else Settings(64, 32, 4, 3),
        "key": Settings(32, 64, 4, 3, tma),
        "key_k": Settings(64, 64, 4, 2, tma),
        "key_v": Settings(64, 64, 4, 2, tma),
    }[case.kernel]


def _head_128(case: Case) -> Settings:
    """Measured at 8192 tokens on an H200: blocks of 64 x 64 spill and take twice the time."""
    tma = int(case.length >= 1024)
    return {
        "forward": Settings(128, 64, 8, 2, tma),
        "query": Settings(128, 32, 8, 3, tma),
        "key": Settings(32, 64, 4, 2, tma),
        "key_k": Settings(32, 128, 8, 3, tma),
        "key_v": Settings(64, 128, 8, 2, tma),
    }[case.kernel]


def _head_256(case: Case) -> Settings:
    """Measured at 4096 tokens on an H200: these spill, yet take a third to a half of the time.

    wgmma needs 64 rows a warp group; narrower blocks or none of the copy engine cost more.
    """
    return {
        "forward": Settings(64, 64, 4, 1, 1),
        "query": Settings(64, 64, 4, 1, 1),
        "key": Settings(32, 64, 4, 1, 1),
        "key_k": Settings(32, 64, 4, 1, 1),
        "key_v": Settings(64, 128, 8, 1, 1),
    }[case.kernel]


def record(case: Case, settings: Settings) -> None:
    """Use these settings for this case from now on."""
    _tuned[case.key()] = settings
    remembered.clear()


def export() -> dict[str, dict[str, int]]:
    """The tuned settings as plain data, ready for JSON, sorted by key."""
    return {key: asdict(_tuned[key]) for key in sorted(_tuned)}


def load(table: Mapping[str, Mapping[str, int]]) -> None:
    """Replace the tuned settings by what `export` gave.

    Raises:
        ValueError: an entry is not of that form; nothing is replaced then.
    """
    names = {field.name for field in fields(Settings)}
    fresh: dict[str, Settings] = {}
    for key, entry in table.items():
        if set(entry) != names or not all(type(value) is int for value in entry.values()):
            raise ValueError(f"settings of {key!r} must be integers named {sorted(names)}")
        fresh[key] = Settings(**entry)
    _tuned.clear()
    _tuned.update(fresh)
    remembered.clear()


def clear() -> None:
    """Forget all tuned settings."""
    load({})
