"""A run that loads its configuration as training does, and writes down which plug-in that took."""

import sys
from pathlib import Path

import framework.training.experiment  # noqa: F401  registers train.*
from framework.configuration import Configuration
from tests.framework.launching import toy


def run(directory: Path) -> None:
    resolved = Configuration.load([directory / "config.gin"]).resolve()
    (directory / "identity").write_text(resolved.identity)
    source = Path(sys.modules["launch_plugin"].__file__)
    (directory / "loaded.py").write_text(source.read_text())
    toy.run(directory)
