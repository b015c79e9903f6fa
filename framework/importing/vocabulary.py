"""What a pickle of one kind may mention, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from framework.errors import UserError

Builder = Callable[..., object]


class RefusedError(UserError):
    """A file holds something that is not read."""


@dataclass(frozen=True)
class Name:
    """A name that a file may mention, `module.name`. It stands for itself."""

    full: str


@dataclass(eq=False)
class Instance:
    """An object of a class that is not imported: the class's name and the object's attributes."""

    class_name: str
    state: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Vocabulary:
    """What files of one kind may ask for.

    Args:
        builders: what stands in for a function, or for a class that is called.
        is_class: whether a class may be made without calling it; it becomes an `Instance`.
        is_constant: whether a name may be mentioned without being called.
        mappings: classes that are dictionaries, whatever they are called.
        persistent: what stands in for a persistent id; None refuses them.
    """

    builders: Mapping[str, Builder]
    is_class: Callable[[str], bool]
    is_constant: Callable[[str], bool]
    mappings: frozenset[str] = frozenset()
    persistent: Builder | None = None

    def knows(self, name: str) -> bool:
        """Return whether a file may mention the name."""
        return (
            name in self.builders
            or name in self.mappings
            or self.is_class(name)
            or self.is_constant(name)
        )
