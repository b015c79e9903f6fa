"""The one exception that is an answer to the user and not a bug."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: what was wrong, where, and what to change.

    Command-line programs print its message on standard error and exit with 2.
    """


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return "; did you mean a, b?" for the names closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, sorted(known), n=count, cutoff=0.5)
    return f"; did you mean {', '.join(matches)}?" if matches else ""
