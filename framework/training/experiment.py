"""A resolved configuration, built: every component of a run as an object."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import nn

import framework.grid.resources
import framework.grid.settings  # noqa: F401 (both are set in a grid's file, which may be run too)
from framework.answers import check_samples, optimizer_of
from framework.configuration import Resolved
from framework.configuration.roots import register_root
from framework.errors import UserError
from framework.training import plugged, weights
from framework.training.checking import Combination
from framework.training.scoring import sampling_weights
from framework.training.settings import Evaluation, Logging, Run, Train
from framework.training.trainer import as_module, construct_model

register_root("train", Train, identity=True)
register_root("evaluation", Evaluation, identity=True)
register_root("logging", Logging, identity=False)
register_root("run", Run, identity=False)


@dataclass(frozen=True)
class Experiment:
    """The built parts of a resolved configuration."""

    resolved: Resolved
    train: Train
    evaluation: Evaluation
    logging: Logging
    run: Run

    @classmethod
    def build(cls, resolved: Resolved) -> Experiment:
        """Build every component that the configuration names.

        Raises:
            UserError: a component refuses its settings.
        """
        resolved.activate()
        return cls(
            resolved,
            resolved.build("train"),
            resolved.build("evaluation"),
            resolved.build("logging"),
            resolved.build("run"),
        )

    def check(self, *, here: bool = True) -> None:
        """Build on the meta device what a run builds, at full size and without memory.

        Loss, network, sampler and metrics have to suit each other: see `checking`. Components of
        plug-ins have to keep what their kinds promise: see `plugged`.

        Args:
            here: whether it is to run on this machine, which then has to have its device.

        Raises:
            UserError: a component refuses its settings or does not fit the others.
        """
        self.device(here=here)
        train = self.train
        if not len(train.dataset):
            raise UserError(
                f"train.dataset is '{train.dataset.name}' and has no training examples: name their "
                "file in its settings"
            )
        weights_at = sampling_weights(self.evaluation, train.loss.guidance.weight)
        with self.resolved.refusals(), torch.device("meta"):
            model = as_module(construct_model(train))
            optimizer_of(train.optimizer, list(model.named_parameters()))
        _refuse_running_statistics(model)
        if train.start is not None:
            weights.read_for(model.state_dict(), train.start)
        self._check_metrics()
        plugged.check(self.resolved, train.dataset, train.loss)
        Combination(self.resolved, train, self.evaluation, model, weights_at).check()

    def _check_metrics(self) -> None:
        with self.resolved.refusals():
            for build in self.evaluation.metrics:
                metric = build(dataset=self.train.dataset)
                check_samples(metric, self.evaluation.samples)
        chosen = self.resolved.settings["evaluation.metrics"]
        for one, other in itertools.combinations(chosen, 2):
            if self.resolved.alike(one, other):
                raise UserError(
                    f"evaluation.metrics: {one} and {other} have the same settings and would "
                    "return the same scores: remove one"
                )

    def device(self, *, here: bool = True) -> torch.device:
        """Return the device that `train.device` names.

        Raises:
            UserError: it names none, or one that this machine has not, if it is to be `here`.
        """
        name = self.train.device
        if name == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise UserError(f"train.device = {name!r} is not a device: {error}") from error
        if device.type not in ("cpu", "cuda"):
            raise UserError(f"train.device = {name!r}: runs train on 'cpu' or 'cuda'")
        if here and device.type == "cuda" and not torch.cuda.is_available():
            raise UserError(f"train.device = {name!r}, but PyTorch sees no GPU: set it to 'auto'")
        return device


def _refuse_running_statistics(model: nn.Module) -> None:
    """Refuse what neither averages of the weights nor several processes would follow."""
    for name, module in model.named_modules():
        if getattr(module, "running_mean", None) is not None:
            raise UserError(
                f"train.model: {name} ({type(module).__name__}) keeps running statistics, which "
                "averages of the weights would not follow: use a norm without them, such as "
                "@normalizations.rms"
            )
