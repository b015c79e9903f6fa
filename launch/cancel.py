"""Cancel the runs of a grid: those of some arms, or all of them.

python launch/cancel.py runs/quickstart
python launch/cancel.py runs/quickstart 'time_sampler=gap'

What runs saves a checkpoint and stops; launching the grid again goes on with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from framework import command
from framework.launching.cancelling import cancel


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = command.parser(__doc__ or "")
    parser.add_argument("directory", type=Path, metavar="DIR", help="the folder of a grid")
    parser.add_argument("arm", nargs="*", metavar="ARM", help="default: every arm")
    return parser.parse_args()


def program() -> int:
    """Cancel what is named and print what that was."""
    given = arguments()
    done = cancel(given.directory, given.arm)
    print(f"{given.directory}: {done.told} running runs told to stop, {done.dropped} waiting ones "
          "cancelled")  # fmt: skip
    for line in done.elsewhere:
        print(line)
    return 1 if done.elsewhere else 0


if __name__ == "__main__":
    command.main(program)
