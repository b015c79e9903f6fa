"""Draw samples from a run's last checkpoint: a sheet a number of evaluations, and single images.

python launch/sample.py runs/digits --nfe 1 2 4 --classes 0 1 2 --count 8
python launch/sample.py runs/digits --poster digits.png   # one picture, scores above, real images
"""

from __future__ import annotations

import argparse
from pathlib import Path

from framework import command


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = command.parser(__doc__ or "")
    add = parser.add_argument
    add("directory", type=Path, metavar="RUN", help="the folder of a run")
    add("--nfe", nargs="+", type=command.positive, default=[], metavar="N", help="network "
        "evaluations a sample (default: the run's)")  # fmt: skip
    add("--classes", nargs="+", type=int, default=[], metavar="C", help="default: all")
    add("--count", type=command.positive, default=8, metavar="N", help="of each class (8)")
    add("--w", type=command.weight, metavar="W", help="guidance weight (default: the run's)")
    add("--seed", type=int, default=0, metavar="K", help="of the latents (0)")
    add("--weights", default="evaluation", metavar="NAME", help="trained, or an average's name, "
        "such as target (default: evaluation)")  # fmt: skip
    add("--real", action="store_true", help="also held-out images, as real.png")
    add("--poster", type=Path, metavar="FILE", help="instead, one picture of all with the run's "
        "scores, held-out images and theirs beside them")  # fmt: skip
    add("--device", metavar="NAME", help="default: the run's")
    add("--output", type=Path, metavar="DIR", help="default: drawn/ in the run's folder")
    return parser.parse_args()


def program() -> None:
    """Draw what the command line asks for, and print where it lies."""
    given = arguments()
    from framework.training.drawing import Wanted, draw_pictures  # imports torch
    from framework.training.restored import restore

    run = restore(given.directory, given.device)
    wanted = Wanted(
        given.nfe, given.classes, given.count, given.w, given.seed, given.weights, given.real
    )
    if given.poster:
        from framework.report.poster import write_poster  # imports matplotlib

        write_poster(run, wanted, given.poster)
        print(f"{given.poster}  (step {run.step})")
        return
    for sheet in draw_pictures(run, wanted, given.output or given.directory / "drawn"):
        print(f"{sheet}  (step {run.step}; single images in {sheet.with_suffix('')}/)")


if __name__ == "__main__":
    command.main(program)
