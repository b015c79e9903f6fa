"""Refuses, before training, a run whose parts make no sense together, and says why.

It knows no component by name: it lets loss and sampler ask their questions (`demands`), runs the
network on the meta device, where nothing is computed, and compares.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framework.configuration import Resolved
from framework.configuration.values import Reference
from framework.errors import UserError
from framework.evaluator import MOVABLE, TRAINED
from framework.passes import Inputs, Passes
from framework.protocols import Tangent, has_blocks
from framework.training import demands
from framework.training.demands import Demands, LossDemands
from framework.training.settings import Evaluation, Train


@dataclass(frozen=True)
class Combination:
    """The parts of a run that have to suit each other; `model` is on the meta device, to spoil."""

    resolved: Resolved
    train: Train
    evaluation: Evaluation
    model: nn.Module
    weights: tuple[float, ...]

    def check(self) -> None:
        """Compare what is asked for with what is there.

        Raises:
            UserError: it does not go together; the message says what to change.
        """
        asked = demands.of_loss(self.train.loss, self.train.dataset)
        seen = self._run_network(asked.trained.moving | asked.targets.moving)
        self._check_loss(asked, seen)
        self._check_sampling(asked.trained)

    def check_sampling(self) -> None:
        """Compare what is asked for in sampling with what the loss trains; no network is run.

        Raises:
            UserError: it does not go together.
        """
        self._check_sampling(demands.of_loss(self.train.loss, self.train.dataset).trained)

    def _check_sampling(self, trained: Demands) -> None:
        for weight, nfe in itertools.product(self.weights, self.evaluation.counts):
            self._check_sampler(trained, self._sampler_demands(nfe, weight))

    def _name(self, setting: str) -> str:
        value = self.resolved.settings[setting]
        return value.selector if isinstance(value, Reference) else setting

    def _run_network(self, moving: set[tuple[str, ...]]) -> set[str]:
        """Run the network plainly and with each tangent; return which of s and w it sees."""
        with torch.device("meta"):
            x = torch.zeros(2, *self.train.dataset.shape)
            t, s, w = (torch.ones(2, requires_grad=True) for _ in range(3))
            inputs = Inputs(x, t, s, torch.zeros(2, dtype=torch.int64), w)
        model = self._name("train.model")
        if has_blocks(self.model):  # blocks are alike: one of them says it
            self.model.blocks = self.model.blocks[:1]
        try:
            F = Passes().plain(self.model, inputs)
            for names in moving:
                Passes().with_tangent(self.model, inputs, _tangent(inputs, names))
        except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{model} cannot be run as {self._name('train.loss')} asks: {reason}"
            ) from error
        if F.shape != x.shape:
            raise UserError(
                f"{model} gives {tuple(F.shape[1:])} for examples of shape {tuple(x.shape[1:])}"
            )
        return {name for name, time in (("s", s), ("w", w)) if _depends(F, time)}

    def _check_loss(self, asked: LossDemands, seen: set[str]) -> None:
        loss, model = self._name("train.loss"), self._name("train.model")
        unknown = asked.targets.weights - {TRAINED, *self.train.loss.averages()}
        if unknown:
            raise UserError(
                f"{loss} asks for the average {min(unknown)!r} and declares no such one"
            )
        if self.train.start is None:
            self._check_teachers(asked.targets)
        if asked.trained.jumps and "s" not in seen:
            raise UserError(
                f"{loss} trains jumps from t to s, and {model} does not see s: bind a second time "
                "that does, such as @second_times.difference, or train a velocity alone"
            )
        if asked.targets.empty and not asked.trained.empty:
            raise UserError(
                f"{loss} takes the empty class's velocity for guidance and never trains it: the "
                "guidance's label_dropout has to be above 0"
            )
        outside = asked.targets.outside(asked.trained)
        if outside is not None and "w" in seen:
            raise UserError(
                f"{loss} takes targets at the guidance weight {outside:g}, and trains "
                f"{_interval(asked.trained)}: change the guidance's weights"
            )
        if asked.trained.varies and "w" not in seen:
            raise UserError(
                f"{loss} trains guidance weights from {asked.trained.low:.3g} to "
                f"{asked.trained.high:.3g}, and {model} does not see them: set its "
                "guidance_embedding = True, or train one weight"
            )

    def _check_teachers(self, targets: Demands) -> None:
        """Refuse targets from weights that stay as they were drawn."""
        averages = self.train.loss.averages()
        steps = (1, self.train.steps)
        for name in sorted(targets.weights & averages.keys()):
            if all(averages[name].decay(step) == 1 for step in steps):
                raise UserError(
                    f"{self._name('train.loss')} takes its target from the weights that training "
                    "starts from, and those are random: set train.start to the run whose velocity "
                    "it is to follow"
                )

    def _sampler_demands(self, nfe: int | None, weight: float) -> Demands:
        sampler, dataset = self.evaluation.sampler, self.train.dataset
        try:
            found = demands.of_sampler(sampler, nfe, dataset, weight)
        except ValueError as error:
            raise UserError(f"evaluation.nfe: {error}") from error
        except TypeError as error:  # a sampler that takes the number for granted
            if nfe is not None:
                raise
            name = self._name("evaluation.sampler")
            raise UserError(f"evaluation.nfe is None, and {name} wants a number") from error
        if nfe is not None and found.evaluations != nfe:
            raise UserError(
                f"{self._name('evaluation.sampler')} is asked for {nfe} evaluations and makes "
                f"{found.evaluations}: the scores' NFE would not be true"
            )
        return found

    def _check_sampler(self, trained: Demands, asked: Demands) -> None:
        sampler, loss = self._name("evaluation.sampler"), self._name("train.loss")
        if asked.jumps and not trained.jumps:
            raise UserError(
                f"{sampler} takes jumps from t to s, which {loss} never trains: use a sampler of "
                "velocities, such as evaluation.sampler = @samplers.euler()"
            )
        for what, wanted, there in (
            ("a class", asked.classes, trained.classes),
            ("the empty class", asked.empty, trained.empty),
        ):
            if wanted and not there:
                raise UserError(
                    f"{sampler} asks for {what}, which {loss} never trains: change the "
                    "guidance's label_dropout, or the sampler"
                )
        outside = asked.outside(trained)
        if outside is not None:
            raise UserError(
                f"{sampler} asks for the guidance weight {outside:g}, and {loss} trains "
                f"{_interval(trained)}: change evaluation.weight or the guidance"
            )


def _depends(F: Tensor, value: Tensor) -> bool:
    (gradient,) = torch.autograd.grad(F.sum(), value, retain_graph=True, allow_unused=True)
    return gradient is not None


def _tangent(inputs: Inputs, names: tuple[str, ...]) -> Tangent:
    x, t, s = (
        torch.ones_like(getattr(inputs, name)) if name in names else None for name in MOVABLE
    )
    return Tangent(x, t, s)


def _interval(trained: Demands) -> str:
    if math.isclose(trained.low, trained.high, rel_tol=0.01):
        return f"{trained.low:g} alone"
    return f"{trained.low:.3g} to {trained.high:.3g}"
