"""Names under which values are stored: a slash makes a group, so no name may also be a group."""

from __future__ import annotations


class TagNames:
    """The names in use of one kind of thing ("scalar", say)."""

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
