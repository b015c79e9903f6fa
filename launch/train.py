"""Train one run here, or go on with it.

python launch/train.py --gin gin/digits.gin
python launch/train.py --gin gin/imagenet256_w2.gin --processes 8     # one a GPU
torchrun --nproc-per-node 8 launch/train.py --gin gin/imagenet256_w2.gin
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from functools import partial
from pathlib import Path

import torch

from framework import command
from framework.configuration import Resolved
from framework.distribution import World, placing
from framework.errors import UserError
from framework.files import publish
from framework.launching import ranks, tasks
from framework.runs import claims, outcomes, sources
from framework.training import State, experiment, folder, run
from framework.training.checkpoints import Checkpoints
from framework.training.weights import CHECKPOINTS


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = command.parser(__doc__ or "")
    command.add_configuration_arguments(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="the run's folder (default: runs/FILE/seed=SEED-IDENTITY)",
    )
    parser.add_argument(
        "--processes",
        type=command.positive,
        default=1,
        metavar="N",
        help="how many train it together, on a GPU each where there are any (1)",
    )
    return parser.parse_args()


def program() -> int:
    """Train the run that the options describe; exit with 1 unless it gets done."""
    given = arguments()
    processes = World.of_environment().size
    if given.processes == processes or (processes > 1 and given.processes == 1):
        return train(given)
    if processes > 1:
        raise UserError(f"--processes {given.processes}, and WORLD_SIZE is {processes}: leave it")
    resolved = command.configuration(given).resolve()
    placing.check(resolved.settings, given.processes)
    directory = folder_of(given, resolved)
    begin = partial(command.main, partial(train, given))
    code = ranks.together(given.processes, begin, partial(write_down, directory))
    if code not in (0, command.USAGE_ERROR) and directory.is_dir():
        outcomes.conclude(directory, code)  # what the first process could not say any more
    return code


def train(given: argparse.Namespace) -> int:
    """Train as the process that the environment says this is; only the first one says how."""
    share_cores(given.processes)
    world, resolved = World.of_environment(), command.configuration(given).resolve()
    placing.check(resolved.settings, world.size)
    directory = folder_of(given, resolved)
    if not world.leads:
        return 0 if run(directory) is State.DONE else 1
    experiment.Experiment.build(resolved).check()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    with claims.claim_folder(directory):  # before its config.gin may say something else
        folder.prepare(directory, resolved)
        heed_sources(directory, resolved)
        state = run(directory)
    print(f"{state}: {directory}")
    return 0 if state is State.DONE else 1


def heed_sources(directory: Path, resolved: Resolved) -> None:
    """Keep what code a run begins with, or say what of it is another where the run goes on."""
    now = resolved.sources()
    if Checkpoints(directory / CHECKPOINTS).newest() is None:
        publish(directory / sources.SOURCES, sources.text_of(now))
        return
    changed = sorted(sources.changed_sources(directory, now))
    if changed:
        print(
            f"{directory} goes on though {sources.listed(changed)} changed since it began: with "
            "another --output it begins again",
            file=sys.stderr,
        )


def share_cores(processes: int) -> None:
    """Take a process's share of the cores, of those that SLURM gave, unless it is told how many."""
    if "OMP_NUM_THREADS" not in os.environ:
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, min(threads, tasks.cores_given() or threads) // processes))


def folder_of(given: argparse.Namespace, resolved: Resolved) -> Path:
    """Return the run's folder."""
    seed, identity = resolved.settings["train.seed"], resolved.identity[:8]
    default = Path("runs", given.gin[-1].stem, f"seed={seed}-{identity}")
    return given.output or default


def write_down(directory: Path, cause: str) -> None:
    """Say, and write into the run's folder, that one of its processes was killed."""
    print(cause, file=sys.stderr)
    if directory.is_dir():
        with claims.claim(directory) as mine:
            if mine:
                outcomes.blame(directory, cause)


if __name__ == "__main__":
    command.main(program)
