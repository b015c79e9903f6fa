"""Roots: the framework's own settings, such as `train`, as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gin

from framework.settings import REQUIRED, Setting, settings_of

GIN_MODULE = "roots"  # a component may be called like a root: `roots.train` stays unique


@dataclass(frozen=True)
class Root:
    """A registered dataclass: a run is what its roots refer to."""

    name: str
    build: type
    settings: Mapping[str, Setting]
    added: Mapping[str, Any]
    identity: bool
    kept: bool

    @property
    def selector(self) -> str:
        """Return the gin name, such as `train`."""
        return self.name

    @property
    def summary(self) -> str:
        """Return the first line of its docstring."""
        return (inspect.getdoc(self.build) or "").partition("\n")[0]


_roots: dict[str, Root] = {}


def register_root(name: str, cls: type, *, identity: bool, kept: bool | None = None) -> Root:
    """Register a frozen dataclass as the settings `name.*`.

    A field whose metadata has `added` came after the first release: at that value it does not
    enter a run's identity.

    Args:
        name: What stands before the dot in a gin file.
        cls: The dataclass; its fields are the settings.
        identity: Whether runs that differ in these settings are different runs.
        kept: Whether a run's own configuration has them: true but for "grid", which describes
            many runs. Those that are not kept are read as data with `Configuration.read`.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    settings = {
        key: dataclasses.replace(setting, default=_default(fields[key]))
        for key, setting in settings_of(cls, ()).items()
    }
    added = {key: f.metadata["added"] for key, f in fields.items() if "added" in f.metadata}
    root = Root(name, cls, settings, added, identity, kept if kept is not None else name != "grid")
    with gin.config.interactive_mode():  # a reloaded module replaces its own roots
        gin.register(name, module=GIN_MODULE)(cls)
    _roots[name] = root
    return root


def roots() -> dict[str, Root]:
    """Return the registered roots by name, in the order of registration."""
    return dict(_roots)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED if field.default is dataclasses.MISSING else field.default
