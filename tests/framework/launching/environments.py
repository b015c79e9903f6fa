"""A run that writes down the environment it has."""

import json
import os
from pathlib import Path

from tests.framework.launching import toy


def run(directory: Path) -> None:
    (directory / "environment.json").write_text(json.dumps(dict(os.environ)))
    toy.run(directory)
