"""Toy roots in place of the real ones, and a way to write gin files."""

from collections.abc import Callable
from pathlib import Path

import gin
import pytest

from framework.configuration import roots
from tests.framework.configuration import toys

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def toy_roots(monkeypatch):
    monkeypatch.setattr(roots, "_roots", {})
    roots.register_root("toy", toys.Toy, identity=True)
    roots.register_root("toy_logging", toys.ToyLogging, identity=False)
    roots.register_root("toy_grid", toys.ToyGrid, identity=False, kept=False)
    yield
    gin.clear_config()


@pytest.fixture
def write(tmp_path, monkeypatch) -> Write:
    """Write a file into an empty working directory and return its path."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return Path(name)

    return write


@pytest.fixture
def base(write) -> Path:
    return write("base.gin", toys.BASE)
