"""Plug-ins as they are at the launch: copies beside each run's `config.gin`, found there first."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

OWN = Path(__file__).resolve().parents[2]


def plugin_files(modules: Iterable[str]) -> dict[str, str]:
    """Return {relative path: text} of the Python files of loaded plug-ins.

    Installed packages and this project's own are left out: jobs import those themselves.
    """
    files: dict[str, str] = {}
    for top in sorted({module.partition(".")[0] for module in modules}):
        origin = getattr(sys.modules.get(top), "__file__", None)
        if origin is None or _is_installed(Path(origin).resolve()):
            continue
        path = Path(origin)
        found = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
        home = path.parent.parent if path.name == "__init__.py" else path.parent
        files |= {str(file.relative_to(home)): file.read_text("utf-8") for file in found}
    return files


def _is_installed(path: Path) -> bool:
    own = [OWN / name for name in ("framework", "components", "kernels")]
    return "site-packages" in path.parts or any(path.is_relative_to(folder) for folder in own)
