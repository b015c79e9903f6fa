"""A resolved configuration: one run with every setting explicit."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from framework.configuration import building, fitting, sources
from framework.configuration.bindings import Binding, Key
from framework.configuration.roots import Root
from framework.configuration.values import Reference, Value, scoped, text
from framework.errors import UserError
from framework.registry import Component
from framework.settings import Setting


@dataclass(frozen=True)
class Node:
    """A root or a component as built in a scope, with the value of every setting."""

    scope: str
    target: Root | Component
    values: Mapping[str, Value]

    @property
    def selector(self) -> str:
        """Return the gin name without scope."""
        return self.target.selector

    def name(self, setting: str) -> str:
        """Return the full name of a setting: `scope/selector.setting`."""
        return f"{scoped(self.scope, self.selector)}.{setting}"


@dataclass(frozen=True, eq=False)
class Resolved:
    """The roots and components of a run; equal to another with the same settings and plug-ins.

    `unused` are bindings that reach nothing, where `resolve` was told to let them pass.
    """

    nodes: tuple[Node, ...]
    plugins: tuple[str, ...] = ()
    unused: Mapping[Key, Binding] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Resolved):
            return NotImplemented
        return (self._texts, set(self.plugins)) == (other._texts, set(other.plugins))

    def __hash__(self) -> int:
        return hash(self.identity)

    @cached_property
    def settings(self) -> dict[str, Value]:
        """Every setting as data, by its full name: 'losses.tvm.target_decay', say."""
        return {
            node.name(name): value for node in self.nodes for name, value in node.values.items()
        }

    @cached_property
    def identifying(self) -> dict[str, Value]:
        """The settings that enter the identity, by their full names; contents by their digests."""
        return {
            node.name(name): _counted(node.target.settings[name], value)
            for node in self.nodes
            if not isinstance(node.target, Root) or node.target.identity
            for name, value in node.values.items()
            if not node.target.settings[name].local
        }

    @cached_property
    def _texts(self) -> dict[str, str]:
        return {name: text(value) for name, value in self.settings.items()}

    @property
    def components(self) -> list[Component]:
        """The components that the run uses, each once, in order of their gin names."""
        used = {n.selector: n.target for n in self.nodes if isinstance(n.target, Component)}
        return [used[selector] for selector in sorted(used)]

    def text(self) -> str:
        """Return `config.gin`: every setting, one a line, and the plug-ins it needs."""
        lines = [f"import {module}" for module in self.plugins]
        for node in self.nodes:
            if node.values:
                lines.append("")
            lines += [f"{node.name(name)} = {text(value)}" for name, value in node.values.items()]
        return "\n".join(lines).strip() + "\n"

    def json(self) -> str:
        """Return the settings as JSON; references are text in gin's syntax."""
        return json.dumps({name: _plain(v) for name, v in self.settings.items()}, indent=1)

    @cached_property
    def identity(self) -> str:
        """The run's identity, 64 hexadecimal digits: the same for every way to write the run.

        It is taken from the tree of what is built, so that order, scope names, macros and
        spelling do not enter; nor do roots without identity, settings at their `added` value, and
        settings marked `Local`.
        """
        tree = {
            node.selector: _tree(node, self._known)
            for node in self.nodes
            if isinstance(node.target, Root) and node.target.identity
        }
        relevant = {selector: settings for selector, settings in tree.items() if settings}
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _known(self) -> dict[tuple[str, str], Node]:
        return {(node.scope, node.selector): node for node in self.nodes}

    def alike(self, one: Reference, other: Reference) -> bool:
        """Return whether two references build the same: one component, settings that are equal."""
        return bool(_branch(one, self._known) == _branch(other, self._known))

    def sources(self) -> dict[str, str]:
        """Return the SHA-256 of the files that the used components are made of, by their names.

        Those are gin names and, of what lies beside the components, names of modules.
        """
        return sources.digests(self.components)

    def activate(self) -> None:
        """Put this configuration, and nothing else, into gin."""
        building.activate(
            f"{scoped(node.scope, building.gin_name(node.target))}.{name} = {text(value)}"
            for node in self.nodes
            for name, value in node.values.items()
        )

    def build(self, name: str) -> Any:
        """Return the built dataclass of a root, after `activate`.

        Raises:
            UserError: a component refuses its settings, or no such root is registered.
        """
        for node in self.nodes:
            if isinstance(node.target, Root) and node.selector == name:
                with building.refusals(self.components):
                    return building.build(node.target)
        raise UserError(f"no root '{name}' is registered")

    def refusals(self) -> Any:
        """Return a context in which a component's ValueError becomes a UserError that names it.

        For calling factories: `with resolved.refusals(): model = train.model(shape, classes)`.
        """
        return building.refusals(self.components)


def _plain(value: Value) -> Any:
    match value:
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {k if isinstance(k, str) else text(k): _plain(v) for k, v in value.items()}
        case float() if not math.isfinite(value):
            return text(value)
        case None | bool() | int() | float() | str():
            return value
    return text(value)


def _tree(node: Node, known: Mapping[tuple[str, str], Node]) -> dict[str, Any]:
    """Return what a node builds, its identity-relevant settings only."""
    settings, added = node.target.settings, node.target.added
    return {
        name: _branch(_counted(settings[name], value), known)
        for name, value in node.values.items()
        if not settings[name].local
        and not (
            name in added and fitting.canonical(settings[name].annotation, added[name]) == value
        )
    }


def _counted(setting: Setting, value: Value) -> Value:
    """Return what of a value says which run it is: of a file its content, not where it lies."""
    content = setting.content
    return content.digest(value) if content and isinstance(value, str) else value


def _branch(value: Value, known: Mapping[tuple[str, str], Node]) -> Any:
    match value:
        case Reference():
            return {"@": value.selector, "=": _tree(known[value.scope, value.selector], known)}
        case list() | tuple():
            return [_branch(item, known) for item in value]
        case dict():
            pairs = [[_branch(k, known), _branch(v, known)] for k, v in value.items()]
            return {"{}": sorted(pairs, key=json.dumps)}
        case bytes():
            return {"b": value.hex()}
        case float():
            return value + 0.0  # -0.0 is 0.0
    return value
