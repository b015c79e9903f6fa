"""Train one run here, or go on with it: python launch/train.py --gin gin/digits.gin."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from framework import command
from framework.errors import UserError
from framework.launching import claims
from framework.training import State, experiment, folder, run


def program() -> int:
    """Train the run that the options describe; exit with 1 unless it gets done."""
    parser = command.parser(__doc__)
    command.add_configuration_arguments(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="the run's folder (default: runs/FILE/seed=SEED-IDENTITY)",
    )
    arguments = parser.parse_args()
    resolved = command.configuration(arguments).resolve()
    experiment.Experiment.build(resolved).check()
    seed, identity = resolved.settings["train.seed"], resolved.identity[:8]
    default = Path("runs", arguments.gin[-1].stem, f"seed={seed}-{identity}")
    directory: Path = arguments.output or default
    folder.prepare(directory, resolved)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    with claims.claim(directory) as mine:
        if not mine:
            raise UserError(f"{directory}: another process trains this run: wait, or stop it first")
        state = run(directory)
    print(f"{state}: {directory}")
    return 0 if state is State.DONE else 1


if __name__ == "__main__":
    command.main(program)
