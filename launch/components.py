"""List the components that a gin file can name, with their settings.

python launch/components.py                  every kind and name, with settings and defaults
python launch/components.py loss             one kind, with a line for each setting and its range
python launch/components.py losses.tvm       one component; `tvm` will do where it is unique
python launch/components.py grid             grid.*; so do train, evaluation, logging and launch
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

import framework.grid.plan
import framework.training.experiment  # noqa: F401  registers train.* and what else a run has
from framework import plugins, registry
from framework.command import add_plugin_argument, main, parser
from framework.configuration import text
from framework.configuration.roots import Root, roots
from framework.errors import UserError, a, nearest
from framework.kinds import KINDS, Kind
from framework.registry import Component
from framework.settings import Setting


def program() -> None:
    """Print what the command line asks for."""
    options = parser(__doc__ or "")
    options.add_argument("name", nargs="?", metavar="KIND|NAME", help="a kind, or a component")
    add_plugin_argument(options)
    arguments = options.parse_args()
    plugins.load_installed()
    for plugin in arguments.plugin:
        plugins.load(plugin)
    console = Console(highlight=False, soft_wrap=True)
    if arguments.name is None:
        _print_all(console)
        return
    for found in _find(arguments.name):
        _print_one(console, found)


def _find(name: str) -> Sequence[Component | Root]:
    """Return the components of a kind, or those of one name, or a root.

    Raises:
        UserError: nothing is called that.
    """
    kind = next((kind for kind in KINDS.values() if name in (kind.name, kind.module)), None)
    if kind is not None:
        return registry.components(kind.name)
    if name in roots():
        return [roots()[name]]
    found = [c for c in registry.components() if name in (c.name, c.selector)]
    if found or "." in name:
        return found or [registry.component(name)]
    known = [*KINDS, *roots(), *(c.name for c in registry.components())]
    hint = nearest(name, known) or f". Kinds: {', '.join(KINDS)}"
    raise UserError(f"no kind and no component is called '{name}'{hint}{plugins.failure_note()}")


def _print_all(console: Console) -> None:
    for kind in KINDS.values():
        console.print(f"[bold]{kind.name}[/bold] ({kind.module}.*){_given(kind)}")
        components = registry.components(kind.name)
        width = max((len(component.selector) for component in components), default=0)
        for component in components:
            console.print(f"    {component.selector.ljust(width)}  {escape(component.summary)}")
            if component.settings:
                settings = ", ".join(map(_with_default, component.settings.values()))
                console.print(f"      [dim]{escape(settings)}[/dim]")
    if plugins.failure_note():
        console.print(escape(plugins.failure_note().strip()))


def _print_one(console: Console, found: Component | Root) -> None:
    console.print(f"[bold]{found.selector}[/bold]  {escape(found.summary)}")
    if isinstance(found, Component):
        console.print(f"  {found.kind.name} of {found.module}{_given(found.kind)}")
    _print_rows(
        console,
        [
            (s.name, "required" if s.required else f"= {_literal(s.default)}", _type(s))
            for s in found.settings.values()
        ],
    )


def _print_rows(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, each row on one line however wide the terminal."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths))
        console.print(f"    {escape(cells.rstrip())}")


def _with_default(setting: Setting) -> str:
    return setting.name if setting.required else f"{setting.name} = {_literal(setting.default)}"


def _given(kind: Kind) -> str:
    return f", built with {', '.join(kind.given)}" if kind.given else ""


def _literal(value: object) -> str:
    try:
        return text(value)
    except ValueError:
        return repr(value)


def _type(setting: Setting) -> str:
    kinds = setting.kinds()
    return a(" or ".join(kind.name for kind in kinds)) if kinds else setting.describe()


if __name__ == "__main__":
    main(program)
