"""The only place that touches gin's global state: it builds what a run uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gin

from framework.configuration.roots import GIN_MODULE, Root
from framework.errors import UserError
from framework.registry import Component

GIN_NOTE = re.compile(r"\n  In call to configurable '(\w+)' \((.*?)\)(?: in scope '.*')?(?=\n|$)")


def gin_name(target: Root | Component) -> str:
    """Return the name under which gin knows a root or component."""
    return f"{GIN_MODULE}.{target.name}" if isinstance(target, Root) else target.selector


def activate(bindings: Iterable[str]) -> None:
    """Replace gin's configuration by these bindings."""
    lines = "\n".join(bindings)
    gin.clear_config()
    gin.parse_config(lines)


def build(root: Root) -> Any:
    """Return an instance of a root from gin's configuration."""
    with gin.config_scope(None):
        return gin.get_configurable(f"{GIN_MODULE}.{root.name}")()


def build_component(component: Component, scope: str, given: Mapping[str, Any]) -> Any:
    """Return a component as gin's configuration has it in a scope, built with `given`."""
    with gin.config_scope(scope or None):
        return gin.get_configurable(component.selector)(**given)


@contextmanager
def refusals(components: Sequence[Component]) -> Iterator[None]:
    """Turn the ValueError of a component's constructor into a UserError that names it.

    A UserError of its own stays as it was, in one line. gin adds a line to the message for each
    constructor on the way, the innermost first.
    """
    try:
        yield
    except (ValueError, UserError) as error:
        note = GIN_NOTE.search(str(error))
        if note is None:
            raise
        message = " ".join(str(error)[: note.start()].split())
        if isinstance(error, UserError):
            raise UserError(message) from error
        name, build_repr = note.groups()
        selector = next(
            (c.selector for c in components if c.name == name and str(c.build) == build_repr), name
        )
        raise UserError(f"{selector}: {message}") from error
