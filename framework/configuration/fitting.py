"""Whether a value fits a setting, and the one way in which a run writes it."""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Annotated, Any

from framework import registry
from framework.configuration.parsing import Origin
from framework.configuration.values import Reference, Value, references, text
from framework.errors import UserError, a
from framework.kinds import Kind
from framework.settings import REQUIRED, Setting


def fit_setting(setting: Setting, value: Value, name: str, origin: Origin | str) -> Value:
    """Return a value as its setting's type writes it: 1 as 1.0 where a float is asked for.

    References come out evaluated or not as their kind asks.

    Raises:
        UserError: the value does not fit the setting.
    """
    problems = (_misplaced(reference, setting) for reference in references(value))
    problem = next((p for p in problems if p), None)
    if problem is None:
        fitted = canonical(setting.annotation, value)
        problem = _unwritable(fitted) or mismatch(setting.annotation, fitted)
    if problem:
        raise UserError(f"{origin}: {name} = {_shown(value)}: {problem}")
    return fitted


def pin(setting: Setting, value: Value, name: str, origin: Origin | str) -> Value:
    """Return a value that names content with the content's digest; any other as it is.

    Raises:
        UserError: there is no such content.
    """
    if setting.content is None or not isinstance(value, str):
        return value
    try:
        return setting.content.pin(value)
    except UserError as error:
        raise UserError(f"{origin}: {name} = {_shown(value)}: {error}") from error


def canonical(annotation: Any, value: Value) -> Value:
    """Return a value with numbers and sequences as the annotation has them."""
    if isinstance(value, Reference):
        kind = registry.component(value.selector).kind
        return Reference(value.scope, value.selector, evaluate=not kind.given)
    origin, arguments = _unpack(annotation)
    if origin is typing.Union:
        return _canonical_in_union(arguments, value)
    if origin is float and type(value) is int:
        return float(value)
    if origin in (tuple, list, collections.abc.Sequence) and isinstance(value, list | tuple):
        items = _item_annotations(origin, arguments, len(value))
        fitted = [canonical(item, v) for item, v in zip(items, value, strict=True)]
        keep = type(value) if origin is collections.abc.Sequence else origin
        return keep(fitted)
    if origin in (dict, collections.abc.Mapping) and isinstance(value, dict):
        of_key, of_value = arguments or (Any, Any)
        return {canonical(of_key, k): canonical(of_value, v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(canonical(Any, v) for v in value)
    if isinstance(value, dict):
        return {k: canonical(Any, v) for k, v in value.items()}
    return value


def _canonical_in_union(arguments: tuple[Any, ...], value: Value) -> Value:
    """Return the value as the first member writes it that accepts it, unchanged ones first."""
    candidates = [canonical(argument, value) for argument in arguments]
    fitting = [c for argument, c in zip(arguments, candidates) if mismatch(argument, c) is None]
    unchanged = [c for c in fitting if type(c) is type(value) and c == value]
    return next(iter(unchanged or fitting or [value]))


def mismatch(annotation: Any, value: Value) -> str | None:
    """Say why a value, with references anywhere in it, does not fit an annotation, or None."""
    origin, arguments = _unpack(annotation)
    kinds = Setting("", annotation, REQUIRED).kinds()
    if not kinds:
        return Setting("", annotation, REQUIRED).problem(value)
    if origin is typing.Union:
        problems = [mismatch(argument, value) for argument in arguments]
        return next((p for p in problems if p), None) if all(problems) else None
    if origin in (tuple, list, collections.abc.Sequence):
        if not isinstance(value, list | tuple):
            return f"wants several: write ({text(value)},)"
        items = _item_annotations(origin, arguments, len(value))
        return next((p for p in map(mismatch, items, value) if p), None)
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(value, dict):
            return "wants a dictionary: {'name': @component}"
        pairs = [(arguments[0], k) for k in value] + [(arguments[1], v) for v in value.values()]
        return next((p for p in (mismatch(a, v) for a, v in pairs) if p), None)
    if not isinstance(value, Reference):
        return f"wants {a(kinds[0].name)}, such as {examples(kinds)}"
    return _misplaced(value, Setting("", annotation, REQUIRED))


def _misplaced(reference: Reference, setting: Setting) -> str | None:
    """Say why a reference cannot stand anywhere in a setting, or None."""
    found = registry.component(reference.selector)
    kinds = setting.kinds()
    if found.kind in kinds or (not kinds and _takes_anything(setting.annotation)):
        return None
    wanted = " or ".join(kind.name for kind in kinds) or "plain value"
    such_as = f", such as {examples(kinds)}" if kinds else ""
    return f"{reference} is {a(found.kind.name)}; {a(wanted)} is wanted{such_as}"


def _takes_anything(annotation: Any) -> bool:
    return annotation is Any or any(map(_takes_anything, typing.get_args(annotation)))


def _unwritable(value: Value) -> str | None:
    try:
        text(value)
    except ValueError as error:
        return f"{error}: use a number, a text, a sequence, a component or None"
    return None


def _shown(value: Value) -> str:
    return repr(value) if _unwritable(value) else text(value)


def examples(kinds: list[Kind]) -> str:
    """Return a few references to components of some kinds."""
    found = [component for kind in kinds for component in registry.components(kind.name)]
    names = [str(Reference("", c.selector, not c.kind.given)) for c in found[:3]]
    return ", ".join(names) or f"none is registered of {kinds[0].module}"


def _unpack(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return an annotation's origin (Union for `|` too) and arguments, Annotated removed."""
    if typing.get_origin(annotation) is Annotated:
        return _unpack(typing.get_args(annotation)[0])
    origin = typing.get_origin(annotation)
    if origin is types.UnionType:
        origin = typing.Union
    return (annotation if origin is None else origin), typing.get_args(annotation)


def _item_annotations(origin: Any, arguments: tuple[Any, ...], count: int) -> list[Any]:
    if not arguments:
        return [Any] * count
    if origin is tuple and arguments[-1] is not Ellipsis:
        return [*arguments, *[Any] * count][:count]
    return [arguments[0]] * count
