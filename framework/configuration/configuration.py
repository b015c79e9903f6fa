"""A configuration: what gin files and the command line bind, as immutable data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from framework import plugins as plugin_loading
from framework.configuration import fitting
from framework.configuration.bindings import (
    REQUIRED_MACRO,
    Binding,
    Key,
    bind,
    bind_all,
    canonical_key,
    parse_name,
)
from framework.configuration.parsing import Assignment, Import, Origin, read_file, read_set
from framework.configuration.resolved import Resolved
from framework.configuration.resolving import resolve
from framework.configuration.roots import roots
from framework.configuration.values import Macro, Value, replace_leaves
from framework.errors import UserError, nearest


@dataclass(frozen=True)
class Configuration:
    """Bindings by key, later ones having replaced earlier ones, and the plug-ins imported.

    `earlier` is what it was made from, before the last file or the last bindings were added.
    """

    bindings: Mapping[Key, Binding] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    earlier: Configuration | None = field(default=None, compare=False, repr=False)

    @classmethod
    def load(
        cls, files: Sequence[Path | str], sets: Sequence[str] = (), plugins: Sequence[str] = ()
    ) -> Configuration:
        """Read gin files, then bindings of the command line, importing every plug-in they name.

        Raises:
            UserError: something does not parse, names what does not exist, or fails to import.
        """
        sources = [list(read_file(Path(file))) for file in files]
        statements = [statement for source in sources for statement in source]
        plugin_loading.load_installed()
        folders = [Path(file).resolve().parent for file in files]
        modules = [name for plugin in plugins for name in plugin_loading.load(plugin, folders)]
        for statement in statements:
            if isinstance(statement, Import):
                modules += _import(statement, folders)
        new = cls({}, tuple(dict.fromkeys(modules)))
        for source in sources:
            new = new._with(bind_all([s for s in source if isinstance(s, Assignment)]))
        return new.with_sets(sets)

    def with_bindings(
        self, bindings: Mapping[str, Value], origin: Origin | str = "--set"
    ) -> Configuration:
        """Return a copy that binds names such as 'losses.tvm.target_decay' to values as data.

        `origin` stands before messages about them: "grid.axes", say, or where those were written.

        Raises:
            UserError: a name is not that of a setting, or a value refers to nothing.
        """
        where = origin if isinstance(origin, Origin) else Origin(origin)
        return self._with(bind(self.key(n, where), v, where) for n, v in bindings.items())

    def with_sets(self, sets: Iterable[str]) -> Configuration:
        """Return a copy with bindings in gin's syntax, such as "train.steps = 100"."""
        return self._with(bind_all([read_set(binding) for binding in sets]))

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
        where = Origin(name)
        binding = self.bindings.get(canonical_key(parse_name(name, where), where))
        return default if binding is None else self.expand(binding.value, binding.origin)

    def key(self, name: str, origin: Origin | str = "--set") -> Key:
        """Return the full key of a possibly partial name: 'tvm.target_decay', or a macro's.

        Raises:
            UserError: no setting and no macro has that name.
        """
        where = origin if isinstance(origin, Origin) else Origin(origin)
        key = canonical_key(parse_name(name, where), where)
        if not key.argument and key not in self.bindings:
            raise UserError(
                f"{where}: '{name}' names nothing: write component.setting, or the name of a macro "
                "that the file defines"
            )
        return key

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
                or on the command line, is an error, unless what used it was replaced by a later
                file or by the command line. Without it they are in `Resolved.unused`.

        Raises:
            UserError: the run cannot be built; the message says what to change.
        """
        return resolve(self, refuse_unused=refuse_unused)

    def _with(self, bindings: Iterable[tuple[Key, Binding]]) -> Configuration:
        return replace(self, bindings={**self.bindings, **dict(bindings)}, earlier=self)

    def _expand(self, value: Value, origin: Origin, inside: tuple[str, ...]) -> Value:
        def leaf(part: Value) -> Value:
            if not isinstance(part, Macro) or part.name == REQUIRED_MACRO:
                return part
            scope, _, name = part.name.rpartition("/")
            binding = self.bindings.get(Key(scope, name, ""))
            if binding is None:
                known = [str(key) for key in self.bindings if not key.argument]
                hint = nearest(part.name, known) or f": write {part.name} = ... to define it"
                raise UserError(f"{origin}: {part} is not defined{hint}")
            if part.name in inside:
                raise UserError(f"{binding.origin}: the macro '{part.name}' refers to itself")
            return self._expand(binding.value, binding.origin, (*inside, part.name))

        return replace_leaves(value, leaf)


def _import(statement: Import, folders: Sequence[Path]) -> list[str]:
    here = [statement.folder] if statement.folder else []
    try:
        return plugin_loading.load(statement.module, [*here, *folders])
    except UserError as error:
        raise UserError(f"{statement.origin}: {error}") from error
