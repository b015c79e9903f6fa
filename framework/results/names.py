"""Names under which values are stored, and plain words for metrics and settings."""

from __future__ import annotations

import ast
import json

UNGROUPED = ("gradient_norm", "learning_rate", "jvp_norm")
"""The scalars of training that no group has: all others have a slash in their names."""


class TagNames:
    """The names in use of one kind of thing ("scalar", say).

    A slash makes a group, so no name may also be a group.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._names: set[str] = set()
        self._groups: set[str] = set()

    def check(self, name: str) -> None:
        """Takes `name` into use.

        Raises:
            ValueError: it is empty, has an empty part, or is a group of other names.
        """
        if name in self._names:
            return
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") for part in parts):
            message = f"{self._kind} name {name!r}: every part between slashes needs a name"
            raise ValueError(message)
        groups = {"/".join(parts[:end]) for end in range(1, len(parts))}
        if name in self._groups or groups & self._names:
            raise ValueError(
                f"{self._kind} name {name!r} clashes with another: of two names, neither may go on "
                "where the other ends ('loss' and 'loss/total'; say 'loss/sum' instead of 'loss')"
            )
        self._names.add(name)
        self._groups |= groups


def plain_metric(name: str) -> str:
    """A metric's name without the hash of what it depends on."""
    return name.partition("@")[0]


def plain_setting(value: object) -> str | float | bool:
    """A varied setting as a number, a truth value or text.

    Settings come as gin text: what is a number there is one here; references stay text.
    """
    if isinstance(value, str):
        try:
            read = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
        return read if isinstance(read, str | int | float) else value
    return value if isinstance(value, int | float) else json.dumps(value)
