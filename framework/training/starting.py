"""A run's folder whose first checkpoint holds weights from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError
from framework.training import folder
from framework.training.checkpoints import Checkpoints
from framework.training.experiment import Experiment
from framework.training.precision import scaler
from framework.training.recorder import Recorder
from framework.training.trainer import as_module, construct_model
from framework.training.weights import CHECKPOINTS, EVALUATION, Weights, check

TRAINED = "trained"


def start(
    directory: Path, experiment: Experiment, networks: Mapping[str, Weights], step: int = 0
) -> None:
    """Write a run's configuration and a checkpoint from which it can be sampled and trained.

    Args:
        directory: the run's folder, which has to be empty or absent.
        experiment: the run, built.
        networks: weights by what they are: "trained", or the name of an average such as
            "evaluation". What is missing starts as a copy of the evaluation's or of the trained.
        step: the number of updates that the weights have behind them.

    Raises:
        UserError: the weights are not those of the run's model, or the folder is taken.
    """
    check_free(directory)
    state = _state(experiment, networks, step)
    beside = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        folder.prepare(beside, experiment.resolved)
        Checkpoints(beside / CHECKPOINTS).save(step, state)
        beside.rename(directory)
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_free(directory: Path) -> None:
    """Check that a folder is absent or empty.

    Raises:
        UserError: it is neither.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} is not an empty folder: choose another --out")


def evaluation_weights(directory: Path) -> tuple[dict[str, Tensor], int]:
    """Return the evaluation weights of a run's newest checkpoint, on the CPU, and its step.

    Raises:
        UserError: there is none.
    """
    state = Checkpoints(directory / CHECKPOINTS).load()
    if state is None:
        raise UserError(f"{directory} has no checkpoint that can be read")
    return state["averages"][EVALUATION], state["step"]


def _state(experiment: Experiment, networks: Mapping[str, Weights], step: int) -> dict[str, Any]:
    """Return what `Trainer.load_state_dict` takes, without drawing initial weights."""
    train = experiment.train
    with experiment.resolved.refusals(), torch.device("meta"):
        model = as_module(construct_model(train))
        optimizer = train.optimizer(list(model.named_parameters()))
    expected = model.state_dict()
    for weights in networks.values():
        check(weights, expected)
    any_weights = networks.get(EVALUATION) or networks[TRAINED]
    averages = [*train.loss.averages(), EVALUATION]
    return {
        "step": step,
        "model": dict(networks.get(TRAINED) or any_weights),
        "averages": {name: dict(networks.get(name) or any_weights) for name in averages},
        "optimizer": optimizer.state_dict(),
        "scaler": scaler(train.precision, torch.device("cpu")).state_dict(),
        "recorder": Recorder(torch.device("cpu"), step).state_dict(),
    }
