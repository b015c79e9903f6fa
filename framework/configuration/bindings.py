"""What a binding binds, by its full name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from gin import config_parser

from framework import registry
from framework.configuration.parsing import Assignment, Origin
from framework.configuration.roots import Root, roots
from framework.configuration.values import Reference, Value, replace_leaves, scoped
from framework.errors import UserError, nearest
from framework.plugins import failure_note

REQUIRED_MACRO = "gin.REQUIRED"
"""`x.y = %gin.REQUIRED` says that an including file has to bind it."""


class Key(NamedTuple):
    """What is bound: `scope/selector.argument`, or a macro, which has no argument."""

    scope: str
    selector: str
    argument: str

    def __str__(self) -> str:
        name = scoped(self.scope, self.selector)
        return f"{name}.{self.argument}" if self.argument else name


@dataclass(frozen=True)
class Binding:
    """A value and where it was written."""

    value: Value
    origin: Origin


def target(selector: str) -> Root | registry.Component:
    """Return the root or component of a gin name, which may be partial.

    Raises:
        UserError: nothing, or more than one thing, has that name.
    """
    known = roots()
    if selector in known:
        return known[selector]
    try:
        return registry.component(selector)
    except UserError:
        if "." in selector or any(c.name == selector for c in registry.components()):
            raise
    names = [*known, *(c.selector for c in registry.components())]
    hint = nearest(selector, names) or "; `python launch/components.py` lists what there is"
    note = failure_note()
    raise UserError(f"neither a component nor a root is called '{selector}'{hint}{note}")


def parse_name(name: str, origin: Origin) -> Key:
    """Return the parts of 'scope/losses.tvm.target_decay', as they are written.

    Raises:
        UserError: it has no such parts.
    """
    try:
        return Key(*config_parser.parse_binding_key(name))
    except (IndexError, TypeError, AttributeError):
        raise UserError(f"{origin}: {name!r} is not the name of a setting") from None


def canonical_key(key: Key, origin: Origin) -> Key:
    """Return a key with its selector in full.

    Raises:
        UserError: there is no such setting.
    """
    if not key.argument:
        return key
    try:
        found = target(key.selector)
    except UserError as error:
        whole = _component(f"{key.selector}.{key.argument}")
        if whole is None:
            raise UserError(f"{origin}: {key}: {error}") from error
        some = ", ".join(whole.settings) or "none"
        raise UserError(
            f"{origin}: {key} is a component: name one of its settings ({some})"
        ) from None
    if key.argument in found.settings:
        return Key(key.scope, found.selector, key.argument)
    if isinstance(found, registry.Component) and key.argument in found.kind.given:
        raise UserError(
            f"{origin}: {key}: whoever uses {found.selector} gives it '{key.argument}': "
            "remove this binding"
        )
    hint = nearest(key.argument, found.settings)
    known = "" if hint else f"; it has {', '.join(found.settings) or 'none'}"
    raise UserError(
        f"{origin}: {key}: {found.selector} has no setting '{key.argument}'{hint}{known}"
    )


def _component(selector: str) -> registry.Component | None:
    return next((c for c in registry.components() if c.selector == selector), None)


def bind(key: Key, value: Value, origin: Origin) -> tuple[Key, Binding]:
    """Return a key and its binding with every name in full.

    Raises:
        UserError: there is no such setting, or the value refers to nothing.
    """

    def leaf(part: Value) -> Value:
        if not isinstance(part, Reference):
            return part
        try:
            return replace(part, selector=registry.component(part.selector).selector)
        except UserError as error:
            raise UserError(f"{origin}: {part}: {error}") from error

    return canonical_key(key, origin), Binding(replace_leaves(value, leaf), origin)


def bind_all(assignments: list[Assignment]) -> list[tuple[Key, Binding]]:
    """Return the bindings of a file or of the command line, in order.

    Raises:
        UserError: one names nothing, or a file's own is replaced by what it includes below.
    """
    bound = [bind(Key(a.scope, a.selector, a.argument), a.value, a.origin) for a in assignments]
    own: dict[Key, Origin] = {}
    for key, binding in bound:
        if not binding.origin.included:
            own[key] = binding.origin
        elif key in own:
            raise UserError(
                f"{own[key]}: {key} is bound again by a file that is included below it "
                f"({binding.origin}): write the include first"
            )
    return bound
