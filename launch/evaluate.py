"""Measure a run's last checkpoint again, with more samples or in other ways.

python launch/evaluate.py runs/digits --samples 10000 --blocks 4
python launch/evaluate.py runs/digits --samples 10000 --nfe 1 2 4 8 --append
torchrun --nproc-per-node 8 launch/evaluate.py runs/imagenet256 --samples 50000
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
    add("--nfe", nargs="+", type=command.positive, metavar="N", help="default: the run's")
    add("--samples", type=command.positive, metavar="N", help="of each block (the run's)")
    add("--blocks", type=command.positive, metavar="K", help="disjoint sets of draws (the run's)")
    add("--w", type=command.weight, metavar="W", help="guidance weight (default: the run's)")
    add("--weights", default="evaluation", metavar="NAME", help="trained, or an average's name")
    add("--device", metavar="NAME", help="default: the run's")
    add("--real", action="store_true", help="instead, all held-out examples: what can be reached")
    add("--append", action="store_true", help="add what is measured to the run's results")
    return parser.parse_args()


def program() -> None:
    """Measure, print a row a metric and NFE, and append the values if asked."""
    given = arguments()
    from framework.distribution import joined
    from framework.training.again import Changes, measure_again, print_scores  # imports torch
    from framework.training.real import held_out_scores
    from framework.training.restored import restore

    with joined() as world:
        run = restore(given.directory, given.device, world)
        if given.real:
            for score in held_out_scores(run) if world.leads else []:
                print(f"{score.name}  {score.value:.5g}  ({score.direction} is better)")
            return
        changes = Changes(given.nfe, given.samples, given.blocks, given.w, given.weights)
        found = measure_again(run, changes, append=given.append, world=world)
        if world.leads:
            print_scores(found)


if __name__ == "__main__":
    command.main(program)
