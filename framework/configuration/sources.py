"""What code components are made of: the file that defines each, and what it imports of its own."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from framework.registry import Component

PACKAGES = frozenset({"components", "framework", "kernels"})
DECLARING = frozenset({"errors", "kinds", "plugins", "protocols", "registry", "settings"})
"""Modules of the framework by which components are declared: what they compute is not in there."""


@dataclass(frozen=True)
class _Home:
    """A folder that modules are imported from, and which of its packages count; None is all."""

    folder: Path
    packages: frozenset[str] | None = None


@dataclass(frozen=True)
class _Module:
    name: str
    path: Path
    homes: tuple[_Home, ...]


_PROJECT = _Home(Path(__file__).resolve().parents[2], PACKAGES)


def digests(used: Iterable[Component]) -> dict[str, str]:
    """Return the SHA-256 of every file that some components are made of.

    The file that defines a component goes by its gin name, 'losses.tvm'. Others go by the names of
    their modules, 'components.losses.velocity': those of this project and, for a plug-in, of the
    folder that it lies in, as far as import statements lead to them from a component.
    """
    defined = {c.selector: c.source.resolve() for c in used if c.source.is_file()}
    waiting = [_of(c) for c in used if c.selector in defined]
    digest_of: dict[Path, str] = {}
    beside: dict[str, str] = {}
    while waiting:
        module = waiting.pop()
        if module.path in digest_of:
            continue
        code = module.path.read_bytes()
        digest_of[module.path] = hashlib.sha256(code).hexdigest()
        if module.path not in defined.values():
            beside[module.name] = digest_of[module.path]
        waiting += _imported(module, code)
    return {name: digest_of[path] for name, path in defined.items()} | dict(sorted(beside.items()))


def _of(component: Component) -> _Module:
    path, top = component.source.resolve(), component.module.partition(".")[0]
    if path.is_relative_to(_PROJECT.folder) and top in PACKAGES:
        return _Module(component.module, path, (_PROJECT,))
    above = component.module.count(".") + (path.name == "__init__.py")
    installed = frozenset({top}) if "site-packages" in path.parts else None
    return _Module(component.module, path, (_Home(path.parents[above], installed), _PROJECT))


def _imported(module: _Module, code: bytes) -> Iterator[_Module]:
    """Yield the modules that count among those that a module's code imports."""
    package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
    for base, name in _statements(code, package):
        submodule = _find(f"{base}.{name}", module.homes) if name else None
        found = submodule or _find(base, module.homes)
        if found is not None:
            yield found


@cache  # by content: the cells of a grid share their files
def _statements(code: bytes, package: str) -> frozenset[tuple[str, str]]:
    """Return (module, name) of what code imports; a whole module has no name."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found |= {(base, alias.name) for alias in node.names}
    return frozenset(found)


def _find(name: str, homes: tuple[_Home, ...]) -> _Module | None:
    """Return a module by its name, if there is one that counts."""
    top, *below = name.split(".")
    if top == "framework" and (not below or below[0] in DECLARING):
        return None
    for index, home in enumerate(homes):
        if home.packages is None or top in home.packages:
            stem = home.folder.joinpath(top, *below)
            for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
                if path.is_file():
                    return _Module(name, path, homes[index:])
    return None
