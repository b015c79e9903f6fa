"""Loading components: installed packages by entry point, a user's own modules by name or path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from pathlib import Path

from framework.errors import UserError
from framework.garbage import uncollected

PROJECT = "tvmlab"
GROUP = f"{PROJECT}.components"
SHOWN_FAILURES = 2

_installed_loaded = False
_failures: dict[str, str] = {}


def load_installed() -> None:
    """Import what installed packages name under the entry points `tvmlab.components`, once.

    One that fails does not stop the others: errors about unknown names mention it.
    """
    global _installed_loaded
    if _installed_loaded:
        return
    _installed_loaded = True
    with uncollected():
        for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
            with _remembered(entry.value):
                entry.load()


def is_own(module: str) -> bool:
    """Return whether a module is this project's, and no plug-in's or other package's."""
    return module.partition(".")[0] in _own_packages()


@cache
def _own_packages() -> frozenset[str]:
    own = (e for e in entry_points(group=GROUP) if e.dist is not None and e.dist.name == PROJECT)
    return frozenset(entry.module.partition(".")[0] for entry in own)


def load(plugin: str, folders: Sequence[Path] = ()) -> list[str]:
    """Import a plug-in and return the names of its modules, as a gin file would import them.

    Args:
        plugin: A module's name, looked for in `folders`, the working directory and the installed
            packages; or a path: a .py file, a package, or a folder of modules.
        folders: Where to look first. They stay importable, for what the plug-in imports itself.

    Raises:
        UserError: there is no such plug-in, its name is taken, or it fails to import.
    """
    path = Path(plugin).expanduser()
    if plugin.endswith(".py") or "/" in plugin or path.is_dir():
        found = [(file.stem, file.parent) for file in _files(path)]
        return [_load(name, [folder.resolve()], plugin) for name, folder in found]
    return [_load(plugin, list(dict.fromkeys([*folders, Path.cwd()])), plugin)]


def failure_note() -> str:
    """Return " (plug-in x failed to import: why)" for remembered failures, or an empty string."""
    if not _failures:
        return ""
    shown = "; ".join(_failures[name] for name in list(_failures)[:SHOWN_FAILURES])
    more = len(_failures) - SHOWN_FAILURES
    return f" ({shown}{f'; and {more} more failed' if more > 0 else ''})"


def _files(path: Path) -> list[Path]:
    if path.suffix == ".py" and path.is_file():
        return [path]
    if (path / "__init__.py").is_file():
        return [path.resolve()]
    modules = sorted(path.glob("[!_.]*.py"))
    if not modules:
        raise UserError(f"plug-in '{path}': no such file, package, or folder of .py files")
    return modules


def _load(name: str, folders: Sequence[Path], shown: str) -> str:
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # last: a user's random.py must not shadow Python's
    top = name.partition(".")[0]
    spec = PathFinder.find_spec(top, [str(folder) for folder in folders])
    with _remembered(shown) as failed:
        if spec is not None and spec.origin is not None:
            _execute(spec, shown)
        importlib.import_module(name)
    if failed:
        raise UserError(_not_found(name, folders, shown) or failed[0])
    return name


def _not_found(name: str, folders: Sequence[Path], shown: str) -> str | None:
    """Return the message for a module that does not exist, or None where it does."""
    if name in sys.modules:
        return None
    try:
        exists = importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):
        exists = False
    except Exception:  # noqa: BLE001  finding a submodule runs its parents, which may do anything
        exists = True
    if exists:
        return None
    places = ", ".join(str(folder) for folder in folders)
    return f"plug-in '{shown}': no such module in {places} or among the installed packages"


def _execute(spec: ModuleSpec, shown: str) -> None:
    """Run a module from its own file, unless that file is loaded already.

    A copy with the same text counts as loaded: a job's snapshot of a plug-in is one.
    """
    loaded = sys.modules.get(spec.name)
    origin = Path(spec.origin or "")
    if loaded is not None:
        other = Path(getattr(loaded, "__file__", None) or "")
        if other.is_file() and other.read_bytes() == origin.read_bytes():
            return
        place = other if other.is_file() else "Python itself"
        raise UserError(f"plug-in '{shown}': the name '{spec.name}' belongs to {place}: rename it")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise


@contextmanager
def _remembered(shown: str) -> Iterator[list[str]]:
    """Remember how a plug-in's import went; yield a list that receives its failure."""
    failed: list[str] = []
    try:
        yield failed
    # A plug-in is a user's own code and its import may raise anything, sys.exit included.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        _failures[shown] = _explain(shown, error)
        failed.append(_failures[shown])
    else:
        _failures.pop(shown, None)


def _explain(shown: str, error: BaseException) -> str:
    if isinstance(error, UserError) and str(error).startswith("plug-in "):
        return str(error)
    reason = " ".join(str(error).split())
    if not isinstance(error, UserError):
        reason = f"{type(error).__name__}: {reason}".removesuffix(": ")
    if isinstance(error, SyntaxError):
        return f"plug-in '{shown}' failed to import: {type(error).__name__}: {error}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen")
        and Path(frame.filename).name != "plugins.py"
        and "importlib" not in frame.filename
    ]
    where = f" ({frames[0].filename}:{frames[0].lineno})" if frames else ""
    return f"plug-in '{shown}' failed to import: {reason}{where}"
