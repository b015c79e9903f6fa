"""Say what happened to a run: how it ended, why, its last steps, and what to try.

python launch/explain.py runs/quickstart/time_sampler=gap/seed=0-1a2b3c4d
python launch/explain.py RUN --steps 64
"""

from __future__ import annotations

from pathlib import Path

from framework.command import main, parser, positive


def program() -> None:
    """Print the account of a run."""
    options = parser(__doc__ or "")
    options.add_argument("directory", type=Path, metavar="RUN", help="the folder of a run")
    options.add_argument(
        "--steps", type=positive, default=12, metavar="N",
        help="how many of the last recorded steps to show (default: 12; a divergence keeps 64)",
    )  # fmt: skip
    chosen = options.parse_args()
    from framework import explaining  # reads with pandas, which --help need not wait for
    from framework.launching import view

    explaining.show(explaining.account(chosen.directory), view.console(), chosen.steps)


if __name__ == "__main__":
    main(program)
