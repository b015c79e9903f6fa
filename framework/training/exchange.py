"""Evaluation weights of a run as a safetensors file, and back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from framework.configuration import Configuration, Key, text
from framework.configuration.parsing import Assignment, Import, read_file
from framework.errors import UserError
from framework.files import replacing
from framework.runs import CONFIG
from framework.training.starting import evaluation_weights

STEP = "step"


def export(directory: Path, file: Path) -> int:
    """Write the evaluation weights of a run, its configuration and step; return the step.

    Raises:
        UserError: the run has no checkpoint, or the file cannot be written.
    """
    config = directory / CONFIG
    if not config.is_file():
        raise UserError(f"{directory} is not a run's folder: it has no {CONFIG}")
    weights, step = evaluation_weights(directory)
    held = {name: weight.contiguous() for name, weight in weights.items()}
    metadata = {"format": "pt", CONFIG: config.read_text(), STEP: str(step)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as beside:
            save_file(held, beside, metadata)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: cannot be written: {error}") from error
    return step


def configuration(file: Path, metadata: Mapping[str, str]) -> Configuration:
    """Return the configuration that a safetensors file carries.

    Raises:
        UserError: it has none, or one that would import or include something.
    """
    if CONFIG not in metadata:
        raise UserError(f"{file} does not say what network it is for: name its --gin file")
    with _written(metadata[CONFIG]) as path:
        lines = metadata[CONFIG].splitlines()
        if any(line.lstrip().startswith("include") for line in lines):
            raise UserError(f"{file}: its configuration includes files: name a --gin file instead")
        plugins = [s.module for s in read_file(path) if isinstance(s, Import)]
        if plugins:
            raise UserError(
                f"{file}: its configuration imports {plugins[0]}: name a --gin file that says so, "
                "if you trust it"
            )
        return Configuration.load([path])


def differing(metadata: Mapping[str, str], chosen: Configuration) -> list[str]:
    """Return the settings in which a configuration is not the one that a file carries.

    Those that name other components come first. The carried one is read and nothing of it
    imported: names and values are compared as text.
    """
    carried = _assigned(metadata.get(CONFIG, ""))
    ours = _assigned(chosen.resolve().text()) if carried else {}
    found = (n for n in carried.keys() | ours.keys() if carried.get(n) != ours.get(n))
    return sorted(found, key=lambda name: (not ours.get(name, "").startswith("@"), name))


def _assigned(config: str) -> dict[str, str]:
    with _written(config) as path:
        found = [each for each in read_file(path) if isinstance(each, Assignment)]
    return {str(Key(a.scope, a.selector, a.argument)): text(a.value) for a in found}


@contextmanager
def _written(config: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, CONFIG)
        path.write_text(config)
        yield path
