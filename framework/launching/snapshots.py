"""Code as it is at the launch: what is edited afterwards changes nothing that was launched.

Plug-ins lie beside each run's `config.gin` and are found there first. This project's own packages
lie in the grid's folder, once for all jobs that were launched with the same content.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from framework.training import provenance

OWN = Path(__file__).resolve().parents[2]
PACKAGES = ("framework", "components", "kernels", "launch", "gin")
CODE = ".code"
HASH_DIGITS = 16


def plugin_files(modules: Iterable[str]) -> dict[str, str]:
    """Return {relative path: text} of the Python files of loaded plug-ins.

    What they have imported from the folders that they lie in is part of them. Installed packages
    and this project's own are left out: jobs import those themselves.
    """
    named = {module.partition(".")[0] for module in modules}
    tops = [top for top in sys.modules if top.isidentifier()]
    places = {top: place for top in tops if (place := _place(top)) is not None}
    homes = {places[top].parent for top in named & places.keys()}
    files: dict[str, str] = {}
    for place in sorted(places.values()):
        if place.parent in homes:
            found = sorted(place.rglob("*.py")) if place.is_dir() else [place]
            files |= {str(f.relative_to(place.parent)): f.read_text("utf-8") for f in found}
    return files


def _place(top: str) -> Path | None:
    """Return the file of a user's own module or the folder of their package, if it is one."""
    module = sys.modules[top]
    origin: str = getattr(module, "__file__", None) or ""
    folders = [*getattr(module, "__path__", ())]  # without an origin: without __init__.py
    if top == "__main__" or not (origin.endswith(".py") if origin else folders):
        return None
    path = Path(folders[0] if folders else origin)
    return None if _is_installed(path.resolve()) else path


def keep_code(grid: Path) -> tuple[Path, bool]:
    """Return `.code/HASH` with a copy of this project's packages, and whether it is new.

    Everything in their folders is taken, whether git knows it or not: an import does not ask.
    The packages may lie in a working tree or among the installed ones.

    Raises:
        OSError: no space or no permission.
    """
    contents = {path: path.read_bytes() for path in _own_files()}
    digest = hashlib.sha256()
    for path, content in contents.items():
        digest.update(f"{path.relative_to(OWN)}\0{len(content)}\0".encode())
        digest.update(content)
    kept = grid / CODE / digest.hexdigest()[:HASH_DIGITS]
    if kept.is_dir():
        return kept, False
    beside = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        for path, content in contents.items():
            copy = beside / path.relative_to(OWN)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        commit, diff = provenance.git_state(OWN)
        state = json.dumps({"commit": commit, "diff": diff})
        (beside / provenance.KEPT).write_text(state, encoding="utf-8")
        beside.rename(kept)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return kept, True


def _own_files() -> list[Path]:
    """Return the files of this project's packages, sorted.

    Among installed packages `gin` is gin-config's.
    """
    installed = "site-packages" in OWN.parts
    own = [name for name in PACKAGES if not (installed and name == "gin")]
    return sorted(
        path
        for name in own
        for path in (OWN / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not _is_hidden(path)
    )


def _is_hidden(path: Path) -> bool:
    parts = path.relative_to(OWN).parts
    return any(part.startswith(".") or part == "__pycache__" for part in parts)


def _is_installed(path: Path) -> bool:
    own = [OWN / name for name in ("framework", "components", "kernels")]
    python = Path(os.__file__).resolve().parent
    return "site-packages" in path.parts or any(
        path.is_relative_to(folder) for folder in (python, *own)
    )
