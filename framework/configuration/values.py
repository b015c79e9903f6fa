"""What stands right of `=` in a gin file, as plain data: literals, references and macros."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Value = Any
"""None, bool, int, float, str, bytes, `Reference`, `Macro`, or a list, tuple or dict of those."""


@dataclass(frozen=True)
class Reference:
    """`@scope/selector` (a factory) or, with `evaluate`, `@scope/selector()` (what it builds)."""

    scope: str
    selector: str
    evaluate: bool = False

    def __str__(self) -> str:
        return f"@{scoped(self.scope, self.selector)}{'()' if self.evaluate else ''}"


@dataclass(frozen=True)
class Macro:
    """`%name`: the value that the file binds to `name`."""

    name: str

    def __str__(self) -> str:
        return f"%{self.name}"


def scoped(scope: str, selector: str) -> str:
    """Return `scope/selector`, or the selector alone outside any scope."""
    return f"{scope}/{selector}" if scope else selector


def text(value: Value) -> str:
    """Return a value in gin's syntax; equal values of equal types have equal text.

    Raises:
        ValueError: gin has no syntax for it.
    """
    match value:
        case Reference() | Macro():
            return str(value)
        case list():
            return f"[{', '.join(map(text, value))}]"
        case tuple():
            return f"({', '.join(map(text, value))}{',' if len(value) == 1 else ''})"
        case dict():
            return f"{{{', '.join(f'{text(k)}: {text(v)}' for k, v in value.items())}}}"
        case float() if math.isnan(value):
            raise ValueError("gin cannot write nan")
        case float() if math.isinf(value):
            return "1e999" if value > 0 else "-1e999"  # overflows to inf, which has no literal
    if value is None or type(value) in (bool, int, float, str, bytes):
        return repr(value)
    raise ValueError(f"gin cannot write a {type(value).__name__}")


def replace_leaves(value: Value, replace: Callable[[Value], Value]) -> Value:
    """Return a value with `replace` applied to everything in it that is not a container."""
    match value:
        case list() | tuple():
            return type(value)(replace_leaves(item, replace) for item in value)
        case dict():
            return {
                replace_leaves(key, replace): replace_leaves(item, replace)
                for key, item in value.items()
            }
    return replace(value)


def references(value: Value) -> Iterator[Reference]:
    """Yield the references in a value, from left to right."""
    match value:
        case Reference():
            yield value
        case list() | tuple():
            for item in value:
                yield from references(item)
        case dict():
            for key, item in value.items():
                yield from references(key)
                yield from references(item)
