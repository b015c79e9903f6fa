"""The registries: components by kind and name, and the decorators that fill them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import gin

from framework.errors import UserError, a, nearest
from framework.kinds import KINDS, Kind
from framework.plugins import failure_note
from framework.settings import Setting, settings_of

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Component:
    """A registered class or factory.

    `added` holds settings that came after the component's first release, each with the value that
    reproduces runs from before: at that value it does not enter a run's identity.
    """

    kind: Kind
    name: str
    build: Callable[..., Any]
    settings: Mapping[str, Setting]
    added: Mapping[str, Any] = field(default_factory=dict)

    @property
    def selector(self) -> str:
        """Return the gin name, such as `losses.tvm`."""
        return f"{self.kind.module}.{self.name}"

    @property
    def module(self) -> str:
        """Return the Python module that it comes from."""
        return self.build.__module__

    @property
    def source(self) -> Path:
        """Return the file that defines it."""
        return Path(inspect.getsourcefile(self.build) or "")

    @property
    def summary(self) -> str:
        """Return the first line of its docstring."""
        return (inspect.getdoc(self.build) or "").partition("\n")[0]


_components: dict[str, Component] = {}


def components(kind: str | None = None) -> list[Component]:
    """Return the registered components, of one kind or all, in order of kind and name."""
    order = list(KINDS)
    found = [c for c in _components.values() if kind is None or c.kind.name == kind]
    return sorted(found, key=lambda c: (order.index(c.kind.name), c.name))


def component(selector: str) -> Component:
    """Return the component of a gin name: `losses.tvm`, or `tvm` where that is unique.

    Raises:
        UserError: nothing, or more than one thing, has that name.
    """
    if selector in _components:
        return _components[selector]
    matches = [c for c in _components.values() if c.selector.endswith(f".{selector}")]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(sorted(c.selector for c in matches))
        raise UserError(f"'{selector}' could be {names}: write it in full")
    raise UserError(_unknown(selector))


def name_of(thing: object) -> str:
    """Return the gin name of the component that an instance is of, or that a factory makes.

    Something that is not registered is called by the name of its class.
    """
    names = {c.build: c.selector for c in _components.values()}
    if inspect.isroutine(thing):
        own = inspect.unwrap(thing)  # gin wraps functions, and derives from classes
        return names.get(own, own.__qualname__)
    cls = thing if inspect.isclass(thing) else type(thing)
    return next((names[base] for base in cls.__mro__ if base in names), cls.__qualname__)


def _unknown(selector: str) -> str:
    module, _, name = selector.rpartition(".")
    kind = next((k for k in KINDS.values() if k.module == module), None)
    if kind is None:
        names = {c.name: c.selector for c in _components.values()}
        hint = nearest(selector, _components) or nearest(selector, names, full=names)
        return f"no component is called '{selector}'{hint}{failure_note()}"
    known = {c.name: c for c in components(kind.name)}
    listed = ", ".join(f"{c.name} ({c.module})" for c in known.values())
    hint = nearest(name, known) or "."
    return f"no {kind.name} is called '{name}'{hint} Known: {listed or 'none'}{failure_note()}"


def add(kind: Kind, name: str, build: Callable[..., Any], added: Mapping[str, Any]) -> Component:
    """Register a class or factory.

    Raises:
        UserError: it does not satisfy the protocol of its kind, or its name is taken.
    """
    problem = _problem(kind, build, added)
    if problem:
        raise UserError(f"{kind.name} '{name}' ({build.__module__}): {problem}")
    new = Component(kind, name, build, settings_of(build, kind.given), dict(added))
    old = _components.get(new.selector)
    if old and (old.module, old.build.__qualname__) != (new.module, build.__qualname__):
        raise UserError(
            f"{kind.name} '{name}' of {new.module} is already registered by {old.module}: rename it"
        )
    with gin.config.interactive_mode():  # a reloaded module replaces its own components
        gin.register(name, module=kind.module)(build)
    _components[new.selector] = new
    return new


def _problem(kind: Kind, build: Callable[..., Any], added: Mapping[str, Any]) -> str | None:
    parameters = inspect.signature(build).parameters
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            return f"takes *{parameter.name}, which swallows misspelt settings: name each one"
    missing = [name for name in kind.given if name not in parameters]
    if missing:
        return f"its constructor has to accept {', '.join(missing)}"
    stray = [name for name in added if name not in parameters]
    if stray:
        return f"`added` names {', '.join(stray)}, which it does not take"
    if not inspect.isclass(build):
        return None  # what a factory returns is checked when it is built
    return missing_members(kind, build)


def missing_members(kind: Kind, thing: object) -> str | None:
    """Say which methods of the kind's protocol a class or an instance lacks, or None."""
    if not getattr(kind.protocol, "_is_protocol", False):  # an ordinary class: to be one is enough
        cls = thing if inspect.isclass(thing) else type(thing)
        needed = f"{kind.protocol.__module__}.{kind.protocol.__qualname__}"
        return None if issubclass(cls, kind.protocol) else f"is not a {needed}"
    for name, method in inspect.getmembers(kind.protocol, inspect.isfunction):
        if name.startswith("_") and name not in ("__call__", "__len__"):
            continue
        own = getattr(thing, name, None)
        if not callable(own) or (name == "__call__" and not _defines_call(thing)):
            return f"lacks {name}{inspect.signature(method)}, which {a(kind.name)} needs"
        expected = _arity(method) - (not inspect.isclass(thing))
        if not _accepts(own, expected):
            return (
                f"its {name}{inspect.signature(own)} does not take the arguments of "
                f"{a(kind.name)}: {name}{inspect.signature(method)}"
            )
    return None


def _defines_call(thing: object) -> bool:
    cls = thing if inspect.isclass(thing) else type(thing)
    return any("__call__" in base.__dict__ for base in cls.__mro__)


def _arity(method: Callable[..., Any]) -> int:
    return sum(p.default is p.empty for p in inspect.signature(method).parameters.values())


def _accepts(function: Callable[..., Any], arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def snake_case(name: str) -> str:
    """Return CamelCase as snake_case: GapStar -> gap_star, DiT -> di_t."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class _Register:
    """`register.KIND`, `register.KIND("name")` or `register.KIND("name", added={...})`."""

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        if kind not in KINDS:
            raise AttributeError(f"no registry is called '{kind}'{nearest(kind, KINDS)}")

        def decorator(
            name: str | T | None = None, *, added: Mapping[str, Any] | None = None
        ) -> Callable[[T], T] | T:
            def decorate(build: T) -> T:
                chosen = name if isinstance(name, str) else snake_case(build.__name__)
                add(KINDS[kind], chosen, build, added or {})
                return build

            return decorate if name is None or isinstance(name, str) else decorate(name)

        return decorator


register = _Register()
