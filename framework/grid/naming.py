"""Names of arms: short, readable, made of what differs, and fit to be folders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from framework.configuration import Reference, Value, text
from framework.errors import UserError

BASELINE = "baseline"
LONGEST = 120
RESERVED = frozenset({"grid.json", "report", "former", "jobs"})
_SAFE = re.compile(r"[A-Za-z0-9_+=,][A-Za-z0-9._=,+-]*")


def short_keys(bindings: Iterable[str]) -> dict[str, str]:
    """Return the shortest ending of each binding's name that no other binding shares.

    'losses.tvm.target_decay' is target_decay; two settings called `std` are gap.std and clamp.std.
    """
    parts = {binding: re.split(r"[./]", binding) for binding in bindings}
    short = {}
    for binding, words in parts.items():
        others = [other for name, other in parts.items() if name != binding]
        count = 1
        while count < len(words) and any(other[-count:] == words[-count:] for other in others):
            count += 1
        short[binding] = ".".join(words[-count:])
    return short


def value_name(value: Value) -> str:
    """Return a value as part of a name: references by their own, lists with dashes."""
    match value:
        case Reference():
            name = value.selector.rpartition(".")[2]
            return f"{value.scope}-{name}" if value.scope else name
        case list() | tuple():
            return "-".join(map(value_name, value)) or "empty"
        case dict():
            return "-".join(f"{value_name(k)}-{value_name(v)}" for k, v in value.items()) or "empty"
        case str():
            return value or "empty"
    return text(value)


def arm_name(point: Mapping[str, Value], keys: Mapping[str, str]) -> str:
    """Return the name of an arm: 'target_decay=0.9,time_sampler=gap'.

    Args:
        point: What the arm binds.
        keys: The bindings that differ between arms, with their short names.
    """
    parts = [f"{keys[name]}={value_name(value)}" for name, value in point.items() if name in keys]
    name = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", ",".join(parts))
    if len(name) > LONGEST:
        digest = hashlib.sha256(",".join(parts).encode()).hexdigest()[:8]
        name = f"{name[: LONGEST - 9]}+{digest}"
    return name or BASELINE


def check_name(name: str, what: str) -> None:
    """Refuse a name that cannot be a folder's.

    Raises:
        UserError: it has other characters, is reserved, or is too long.
    """
    if name.casefold() in RESERVED:
        raise UserError(f"{what} '{name}' is the name of something else in a grid's folder: rename")
    if not _SAFE.fullmatch(name) or len(name) > LONGEST:
        raise UserError(
            f"{what} {name!r} cannot be a folder's name: use up to {LONGEST} letters, digits and "
            "_ + = , . - (not . or - first)"
        )
