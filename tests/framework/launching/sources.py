"""A run that writes down a component's file as it imported it, and then runs as toys do."""

from pathlib import Path

from tests.framework.launching import toy


def run(directory: Path) -> None:
    from components.samplers import grid  # now, and not when the job began

    (directory / "imported.py").write_text(Path(grid.__file__).read_text())
    toy.run(directory)
