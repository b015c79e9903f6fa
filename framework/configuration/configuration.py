"""A configuration: what gin files and the command line bind, as immutable data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gin import config_parser

from framework import plugins as plugin_loading
from framework import registry
from framework.configuration import fitting
from framework.configuration.parsing import Assignment, Import, Origin, read_file, read_set
from framework.configuration.roots import Root, roots
from framework.configuration.values import Macro, Reference, Value, replace_leaves, scoped
from framework.errors import UserError, nearest

if TYPE_CHECKING:
    from framework.configuration.resolved import Resolved


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


@dataclass(frozen=True)
class Configuration:
    """Bindings by key, later ones having replaced earlier ones, and the plug-ins imported."""

    bindings: Mapping[Key, Binding] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()

    @classmethod
    def load(
        cls, files: Sequence[Path | str], sets: Sequence[str] = (), plugins: Sequence[str] = ()
    ) -> Configuration:
        """Read gin files, then bindings of the command line, importing every plug-in they name.

        Raises:
            UserError: something does not parse, names what does not exist, or fails to import.
        """
        statements = [statement for file in files for statement in read_file(Path(file))]
        assignments = [s for s in statements if isinstance(s, Assignment)]
        assignments += [read_set(binding) for binding in sets]
        plugin_loading.load_installed()
        folders = [Path(file).resolve().parent for file in files]
        modules = [name for plugin in plugins for name in plugin_loading.load(plugin, folders)]
        for statement in statements:
            if isinstance(statement, Import):
                modules += _import(statement, folders)
        new = cls({}, tuple(dict.fromkeys(modules)))
        return new._bind(
            (Key(a.scope, a.selector, a.argument), Binding(a.value, a.origin)) for a in assignments
        )

    def with_bindings(
        self, bindings: Mapping[str, Value], origin: Origin | str = "--set"
    ) -> Configuration:
        """Return a copy that binds names such as 'losses.tvm.target_decay' to values as data.

        `origin` stands before messages about them: "grid.axes", say, or where those were written.

        Raises:
            UserError: a name is not that of a setting, or a value refers to nothing.
        """
        where = origin if isinstance(origin, Origin) else Origin(origin)
        return self._bind((_parse_name(n, where), Binding(v, where)) for n, v in bindings.items())

    def with_sets(self, sets: Iterable[str]) -> Configuration:
        """Return a copy with bindings in gin's syntax, such as "train.steps = 100"."""
        assignments = [read_set(binding) for binding in sets]
        return self._bind(
            (Key(a.scope, a.selector, a.argument), Binding(a.value, a.origin)) for a in assignments
        )

    def without(self, prefixes: Iterable[str]) -> Configuration:
        """Return a copy without the bindings of some roots, components or settings."""
        ends = tuple(prefix.rstrip(".") for prefix in prefixes)
        kept = {
            key: binding
            for key, binding in self.bindings.items()
            if not any(str(key) == end or str(key).startswith(f"{end}.") for end in ends)
        }
        return replace(self, bindings=kept)

    def get(self, name: str, default: Value = None) -> Value:
        """Return what 'losses.tvm.target_decay' is bound to, as data, or `default`.

        References are not built; macros are replaced by what they stand for.

        Raises:
            UserError: no setting has that name.
        """
        key = _canonical_key(_parse_name(name, Origin("get")), Origin("get"))
        binding = self.bindings.get(key)
        return default if binding is None else self.expand(binding.value, binding.origin)

    def key(self, name: str, origin: Origin | str = "--set") -> Key:
        """Return the full key of a possibly partial name: 'tvm.target_decay', say.

        Raises:
            UserError: no setting has that name.
        """
        where = origin if isinstance(origin, Origin) else Origin(origin)
        return _canonical_key(_parse_name(name, where), where)

    def read(self, name: str) -> Any:
        """Return the dataclass of a root that holds plain data, such as 'grid' or 'launch'.

        References in its values stay data.

        Raises:
            UserError: a setting is missing or its value does not fit.
        """
        root = roots()[name]
        values: dict[str, Value] = {}
        for setting in root.settings.values():
            key = Key("", name, setting.name)
            binding = self.bindings.get(key)
            if binding is not None:
                value = self.expand(binding.value, binding.origin)
                values[setting.name] = fitting.fit_setting(setting, value, str(key), binding.origin)
            elif setting.required:
                raise UserError(f"{key} is not bound: give it a value in the gin file")
        try:
            return root.build(**values)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error

    def expand(self, value: Value, origin: Origin) -> Value:
        """Return a value with its macros replaced by what they stand for.

        Raises:
            UserError: a macro is not defined, or refers to itself.
        """
        return self._expand(value, origin, ())

    def resolve(self, *, refuse_unused: bool = True) -> Resolved:
        """Return the run that this describes: every component it uses with every setting.

        Args:
            refuse_unused: Whether a binding that the run does not use, in a file that was named
                or on the command line, is an error. Without it they are in `Resolved.unused`.

        Raises:
            UserError: the run cannot be built; the message says what to change.
        """
        from framework.configuration.resolving import resolve  # which imports this module

        return resolve(self, refuse_unused=refuse_unused)

    def _bind(self, bindings: Iterable[tuple[Key, Binding]]) -> Configuration:
        bound = dict(self.bindings)
        for key, binding in bindings:
            value = replace_leaves(binding.value, lambda leaf, b=binding: _canonical(leaf, b))
            bound[_canonical_key(key, binding.origin)] = Binding(value, binding.origin)
        return replace(self, bindings=bound)

    def _expand(self, value: Value, origin: Origin, inside: tuple[str, ...]) -> Value:
        def leaf(part: Value) -> Value:
            if not isinstance(part, Macro) or part.name == REQUIRED_MACRO:
                return part
            scope, _, name = part.name.rpartition("/")
            binding = self.bindings.get(Key(scope, name, ""))
            if binding is None:
                known = [str(key) for key in self.bindings if not key.argument]
                raise UserError(f"{origin}: {part} is not defined{nearest(part.name, known)}")
            if part.name in inside:
                raise UserError(f"{binding.origin}: the macro '{part.name}' refers to itself")
            return self._expand(binding.value, binding.origin, (*inside, part.name))

        return replace_leaves(value, leaf)


REQUIRED_MACRO = "gin.REQUIRED"


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
    note = plugin_loading.failure_note()
    raise UserError(f"neither a component nor a root is called '{selector}'{hint}{note}")


def _import(statement: Import, folders: Sequence[Path]) -> list[str]:
    here = [statement.folder] if statement.folder else []
    try:
        return plugin_loading.load(statement.module, [*here, *folders])
    except UserError as error:
        raise UserError(f"{statement.origin}: {error}") from error


def _parse_name(name: str, origin: Origin) -> Key:
    try:
        return Key(*config_parser.parse_binding_key(name))
    except (IndexError, TypeError, AttributeError):
        raise UserError(f"{origin}: {name!r} is not the name of a setting") from None


def _canonical_key(key: Key, origin: Origin) -> Key:
    """Return a key with its selector in full.

    Raises:
        UserError: there is no such setting.
    """
    if not key.argument:
        return key
    try:
        found = target(key.selector)
    except UserError as error:
        raise UserError(f"{origin}: {key}: {error}") from error
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


def _canonical(leaf: Value, binding: Binding) -> Value:
    """Return a reference with its selector in full, anything else as it is."""
    if not isinstance(leaf, Reference):
        return leaf
    try:
        found = registry.component(leaf.selector)
    except UserError as error:
        raise UserError(f"{binding.origin}: {leaf}: {error}") from error
    return replace(leaf, selector=found.selector)
