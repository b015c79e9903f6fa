"""The one exception that is an answer to the user and not a bug."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class UserError(Exception):
    """Something the user can mend: what was wrong, where, and what to change.

    Command-line programs print its message on standard error and exit with 2.
    """


def nearest(
    name: str, known: Iterable[str], count: int = 3, full: Mapping[str, str] | None = None
) -> str:
    """Return "; did you mean a, b?" for the names closest to `name`, or an empty string.

    `full` says how to write a name in full, where that is longer.
    """
    matches = difflib.get_close_matches(name, sorted(known), n=count, cutoff=0.5)
    shown = [full[match] for match in matches] if full else matches
    return f"; did you mean {', '.join(shown)}?" if shown else ""


def a(noun: str) -> str:
    """Return a noun with its article: a loss, an attention."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"
