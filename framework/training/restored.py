"""A run's weights out of its last checkpoint, to sample from and to judge again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from framework.configuration import Configuration
from framework.distribution import ALONE, World
from framework.errors import UserError
from framework.runs import CONFIG
from framework.training import replicas
from framework.training.checkpoints import Checkpoints
from framework.training.experiment import Experiment
from framework.training.trainer import Trainer


@dataclass(frozen=True)
class Restored:
    """A run as its last checkpoint has it."""

    directory: Path
    experiment: Experiment
    trainer: Trainer

    @property
    def step(self) -> int:
        """The checkpoint's step."""
        return self.trainer.step


def restore(directory: Path, device: str | None = None, world: World = ALONE) -> Restored:
    """Build a run and load its last checkpoint.

    Args:
        directory: the run's folder.
        device: where to, in place of its `train.device`.
        world: the processes that do so, each for itself.

    Raises:
        UserError: the folder is no run, has no whole checkpoint, or cannot be built here; or the
            processes have read different ones.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise UserError(f"{directory}: not the folder of a run (no {CONFIG} in it)")
    configuration = Configuration.load([path])
    if device is not None:
        configuration = configuration.with_bindings({"train.device": device}, "--device")
    experiment = Experiment.build(configuration.resolve())
    replicas.check_same_run(world, experiment.resolved, directory)
    place = world.device(experiment.device())
    state = Checkpoints(directory / "checkpoints", world).load(place)
    if state is None:
        raise UserError(f"{directory}: no checkpoint to take weights from: train the run first")
    with experiment.resolved.refusals(), torch.random.fork_rng(devices=[]):
        trainer = Trainer(experiment.train, place)
    try:
        trainer.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:  # weights, groups or averages differ
        raise UserError(
            f"{directory}: its checkpoint does not fit its configuration; components changed since "
            f"it was trained ({str(error).splitlines()[0]})"
        ) from error
    trainer.model.eval()
    replicas.check(trainer, world, directory, replicas.READ)
    return Restored(directory, experiment, trainer)
