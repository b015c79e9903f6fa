"""A setting is one constructor argument that gin can bind; its values are checked by its type."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import annotated_types
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from framework.kinds import KIND_OF_PROTOCOL, Kind

REQUIRED: Any = inspect.Parameter.empty

Positive = Annotated[float, annotated_types.Gt(0)]
NonNegative = Annotated[float, annotated_types.Ge(0)]
Probability = Annotated[float, annotated_types.Interval(ge=0, le=1)]
PositiveInt = Annotated[int, annotated_types.Ge(1)]
NonNegativeInt = Annotated[int, annotated_types.Ge(0)]


class Local:
    """Marks, in `Annotated`, a setting that says where things lie: no part of a run's identity."""


LocalPath = Annotated[str, Local]


@dataclass(frozen=True)
class Content:
    """Marks, in `Annotated`, a text that says where something lies and counts by what is in it.

    `pin` returns the text with the content's digest, as the frozen configuration has it, and raises
    a UserError where there is no such thing; `digest` returns what enters a run's identity.
    """

    pin: Callable[[str], str]
    digest: Callable[[str], str]


@dataclass(frozen=True)
class Setting:
    """One setting of a component: its name, type and default (`REQUIRED` without one)."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether a configuration has to bind it."""
        return self.default is REQUIRED

    @property
    def local(self) -> bool:
        """Whether it is a path or the like, which does not enter a run's identity."""
        return any(Local in getattr(p, "__metadata__", ()) for p in _parts(self.annotation))

    @property
    def content(self) -> Content | None:
        """How it is pinned, where it counts by its content."""
        metadata = (m for p in _parts(self.annotation) for m in getattr(p, "__metadata__", ()))
        return next((m for m in metadata if isinstance(m, Content)), None)

    def kinds(self) -> list[Kind]:
        """Return the kinds of component that the setting may refer to."""
        return [
            KIND_OF_PROTOCOL[part]
            for part in _parts(self.annotation)
            if isinstance(part, type) and part in KIND_OF_PROTOCOL
        ]

    def describe(self) -> str:
        """Return the type and range in words, such as "float, > 0 or None"."""
        return _describe(self.annotation)

    def problem(self, value: object) -> str | None:
        """Say in a few words why `value` (without references) cannot be this setting, or None."""
        if self.annotation is Any or (self.kinds() and value is not None):
            return None
        try:
            _adapter(self.annotation).validate_python(value, strict=True)
        except ValidationError as error:
            if not isinstance(value, tuple) and self.problem((value,)) is None:
                return f"should be a tuple, such as {(value,)!r}"
            return _first_message(error) + self._range(error)
        return None

    def _range(self, error: ValidationError) -> str:
        """Return the whole range where one of its two ends was crossed."""
        crossed = error.errors()[0]["type"].startswith(("greater_than", "less_than"))
        whole = self.describe()
        return f" ({whole})" if crossed and "<" in whole and ">" in whole else ""


def settings_of(build: Callable[..., Any], given: tuple[str, ...]) -> dict[str, Setting]:
    """Return the settings of a class or factory: its arguments but those in `given`."""
    function = build.__init__ if inspect.isclass(build) else build  # type hints sit on __init__
    hints = typing.get_type_hints(function, include_extras=True)
    return {
        name: Setting(name, hints.get(name, Any), parameter.default)
        for name, parameter in inspect.signature(build).parameters.items()
        if name not in given
    }


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and everything nested in it."""
    yield annotation
    for argument in typing.get_args(annotation):
        if isinstance(argument, list):  # the arguments of a Callable
            continue
        if isinstance(argument, type | types.GenericAlias | types.UnionType) or typing.get_origin(
            argument
        ):
            yield from _parts(argument)


def _describe(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        limits = [limit for limit in map(_limits, arguments[1:]) if limit]
        return ", ".join([_describe(arguments[0]), *limits])
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_describe, arguments))
    if annotation in (None, types.NoneType):
        return "None"
    if annotation is Ellipsis:
        return "..."
    if origin is not None and arguments:
        inside = ", ".join(_describe(a) for a in arguments if not isinstance(a, list))
        return f"{getattr(origin, '__name__', origin)}[{inside}]"
    return getattr(annotation, "__name__", str(annotation))


def _limits(constraint: object) -> str:
    """Return a constraint of annotated_types as an inequality, or an empty string."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = {name: getattr(constraint, name, None) for name in signs}
    return ", ".join(f"{signs[k]} {v}" for k, v in bounds.items() if v is not None)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a model or dataclass brings its own configuration
        return TypeAdapter(annotation)


def _first_message(error: ValidationError) -> str:
    details = error.errors()[0]
    where = "".join(f"[{part!r}]" for part in details["loc"] if isinstance(part, int))
    message = details["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"item {where} {message}" if where else message
