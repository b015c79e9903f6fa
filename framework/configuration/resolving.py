"""From a configuration to one run: the walk from the roots to every component that it uses.

Scopes are gin's: a reference with a scope is built in that scope alone, one without in the scope
of whoever refers to it, and a binding holds in its scope and in those inside it. A macro stands
for its value, as if that had been written in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from framework import registry
from framework.configuration import fitting
from framework.configuration.bindings import REQUIRED_MACRO, Binding, Key
from framework.configuration.resolved import Node, Resolved
from framework.configuration.roots import Root, roots
from framework.configuration.values import Macro, Reference, Value, references, replace_leaves
from framework.errors import UserError
from framework.settings import Setting

if TYPE_CHECKING:
    from framework.configuration.configuration import Configuration

MAX_SHOWN = 3


@dataclass(frozen=True)
class _User:
    """Who refers to a component: the setting's name and where that was bound."""

    name: str
    where: str


def resolve(configuration: Configuration, *, refuse_unused: bool) -> Resolved:
    """Return the run of a configuration; see `Configuration.resolve`."""
    walk = _Walk(configuration)
    for root in roots().values():
        if root.kept:
            walk.visit("", root, ())
        else:
            walk.read(root)
    unused = {
        key: binding
        for key, binding in configuration.bindings.items()
        if not (binding.origin.included or walk.uses(key))
    }
    never = unreached(configuration, unused) if refuse_unused else {}
    if never:
        raise UserError(explain_unused(never, walk.nodes.values()))
    return Resolved(tuple(walk.nodes.values()), configuration.plugins, unused)


def unreached(configuration: Configuration, unused: dict[Key, Binding]) -> dict[Key, Binding]:
    """Return those of a configuration's unused bindings that nothing used earlier either.

    What a file binds is right as long as its own composition uses it: a later file, or the command
    line, may replace what did.
    """
    earlier = configuration.earlier
    while unused and earlier is not None:
        there = [key for key, binding in unused.items() if earlier.bindings.get(key) is binding]
        if there:
            with suppress(UserError):  # what needed the later bindings to be complete
                still = earlier.resolve(refuse_unused=False).unused
                unused = {k: b for k, b in unused.items() if k not in there or k in still}
        earlier = earlier.earlier
    return unused


def explain_unused(unused: dict[Key, Binding], nodes: Collection[Node] = ()) -> str:
    """Say which bindings a run does not use and what to change, in one line."""
    key, binding = next(iter(unused.items()))
    more = f" ({len(unused) - 1} more like it)" if len(unused) > 1 else ""
    if not key.argument:
        return (
            f"{binding.origin}: nothing uses the macro '{key}': write %{key} where it is wanted, "
            f"or component.setting = ... to bind a setting{more}"
        )
    built = [node for node in nodes if node.selector == key.selector]
    inner = [node.name(key.argument) for node in built if key.scope in _enclosing(node.scope)]
    if inner:
        return (
            f"{binding.origin}: {key}: another binding of an inner scope holds wherever it would: "
            f"bind {', '.join(inner[:MAX_SHOWN])} instead{more}"
        )
    if built or key.selector in roots():
        return f"{binding.origin}: {key}: nothing is built in the scope '{key.scope}'{more}"
    component = registry.component(key.selector)
    used = [
        node.selector
        for node in nodes
        if isinstance(node.target, registry.Component) and node.target.kind == component.kind
    ]
    instead = f"; its {component.kind.name} is {', '.join(used[:MAX_SHOWN])}" if used else ""
    return (
        f"{binding.origin}: {key}: the run does not use {key.selector}{instead}: "
        f"remove this binding or refer to the component{more}"
    )


class _Walk:
    """Visits roots and components depth first, in the order of their settings."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.nodes: dict[tuple[str, str], Node] = {}
        self.macros: set[str] = set()
        self._holding: set[Key] = set()
        self._open: list[tuple[str, str]] = []

    def visit(
        self, scope: str, target: Root | registry.Component, users: tuple[_User, ...]
    ) -> None:
        """Add a node and everything that it refers to."""
        place = (scope, target.selector)
        if place in self._open:
            names = [selector for _, selector in (*self._open, place)]
            chain = " -> ".join(names[names.index(target.selector) :])
            raise UserError(f"{users[-1].where}: {target.selector} refers to itself: {chain}")
        if place in self.nodes:
            return
        self._open.append(place)
        values = {
            setting.name: self._value(scope, target, setting, users)
            for setting in target.settings.values()
        }
        self.nodes[place] = node = Node(scope, target, values)
        for name, value in values.items():
            binding = self._bound(scope, target.selector, name)
            user = _User(node.name(name), str(binding.origin) if binding else "its default")
            for reference in references(value):
                self.visit(reference.scope, registry.component(reference.selector), (*users, user))
        self._open.pop()

    def read(self, root: Root) -> None:
        """Note the macros of a root that is read as data and not built."""
        for key, binding in self.configuration.bindings.items():
            if key.selector == root.name:
                self._note_macros(binding.value)

    def uses(self, key: Key) -> bool:
        """Return whether a binding reaches anything that is built."""
        if not key.argument:
            return str(key) in self.macros
        root = roots().get(key.selector)
        if root is not None and not root.kept:
            return not key.scope
        return key in self._holding

    def _value(
        self,
        scope: str,
        target: Root | registry.Component,
        setting: Setting,
        users: tuple[_User, ...],
    ) -> Value:
        name = str(Key(scope, target.selector, setting.name))
        binding = self._bound(scope, target.selector, setting.name)
        if binding is None or binding.value == Macro(REQUIRED_MACRO):
            if setting.required or binding is not None:
                raise UserError(_unbound(name, target, setting, users))
            where = f"the default in {target.build.__module__}"
            return fitting.fit_setting(setting, setting.default, name, where)
        self._note_macros(binding.value)
        value = self.configuration.expand(binding.value, binding.origin)
        fitted = fitting.fit_setting(setting, value, name, binding.origin)
        fitted = fitting.pin(setting, fitted, name, binding.origin)

        def place(leaf: Value) -> Value:
            inherits = isinstance(leaf, Reference) and not leaf.scope
            return replace(leaf, scope=scope) if inherits else leaf

        return replace_leaves(fitted, place)

    def _bound(self, scope: str, selector: str, argument: str) -> Binding | None:
        """Return the binding that holds in a scope, the innermost one, and note that it does."""
        for outer in _enclosing(scope):
            key = Key(outer, selector, argument)
            binding = self.configuration.bindings.get(key)
            if binding is not None:
                self._holding.add(key)
                return binding
        return None

    def _note_macros(self, value: Value) -> None:
        def leaf(part: Value) -> Value:
            if isinstance(part, Macro) and part.name not in self.macros:
                self.macros.add(part.name)
                scope, _, name = part.name.rpartition("/")
                binding = self.configuration.bindings.get(Key(scope, name, ""))
                if binding is not None:
                    self._note_macros(binding.value)
            return part

        replace_leaves(value, leaf)


def _enclosing(scope: str) -> Iterator[str]:
    """Yield a scope and those around it, from the innermost: a/b, a, and none."""
    while scope:
        yield scope
        scope = scope.rpartition("/")[0]
    yield ""


def _unbound(
    name: str, target: Root | registry.Component, setting: Setting, users: tuple[_User, ...]
) -> str:
    kinds = setting.kinds()
    wanted = f"such as {fitting.examples(kinds)}" if kinds else "it has no default"
    if users:
        user = users[-1]
        because = f"{user.name} ({user.where}) uses {target.selector}"
        return f"{name} is not bound: {because}, which needs it: bind it, {wanted}"
    return f"{name} is not bound: every run needs it: bind it, {wanted}"
