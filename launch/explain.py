"""Say what happened to a run: how it ended, why, its last steps, and what to try.

python launch/explain.py runs/quickstart/time_sampler=gap/seed=0-1a2b3c4d
"""

from __future__ import annotations

from pathlib import Path

from framework.command import main, parser


def program() -> None:
    """Print the account of a run."""
    options = parser(__doc__ or "")
    options.add_argument("directory", type=Path, metavar="RUN", help="the folder of a run")
    chosen = options.parse_args()
    from framework import explaining  # reads with pandas, which --help need not wait for
    from framework.launching import view

    explaining.show(explaining.account(chosen.directory), view.console())


if __name__ == "__main__":
    main(program)
