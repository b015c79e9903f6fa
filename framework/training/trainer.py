"""The state of a run and the step that moves it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from framework.answers import optimizer_of
from framework.distribution import ALONE, World
from framework.distribution.placement import Replicated
from framework.distribution.placing import micro_batches, placement_of
from framework.errors import UserError
from framework.evaluator import TRAINED, Evaluator
from framework.passes import Passes
from framework.protocols import Batch, FoundWeights, LossTerms, Model
from framework.sections import section
from framework.streams import Streams
from framework.training.averages import Averages
from framework.training.gradients import Gradients, Summary
from framework.training.graphed import GraphedGradients
from framework.training.observation import observed_terms
from framework.training.precision import autocast, scaler
from framework.training.recorder import Recorder
from framework.training.settings import Train
from framework.training.weights import EVALUATION, read_for
from framework.training.workspaces import spare_workspaces


class Trainer:
    """A network in training: weights, averages, optimizer and the step they have reached.

    Each of several processes has one, sees its part of every batch, and does the same.
    """

    def __init__(self, settings: Train, device: torch.device, world: World = ALONE) -> None:
        self.settings = settings
        self.device = device
        self.world = world
        self.step = 0
        self._pieces = micro_batches(settings.batch_size, settings.accumulation, world.size)
        self.placement = placement_of(settings.distribution, world, device)
        if not settings.workspaces:
            spare_workspaces()
        self.model = build_model(settings, device)
        world.alike([p.detach() for p in self.model.parameters()])
        self.placement.check(settings.optimizer, self.model)
        averages = {**settings.loss.averages(), EVALUATION: settings.evaluation_average}
        self.averages = Averages(self.model, averages, self.placement)
        self.placement.place(self.model)
        self.optimizer = optimizer_of(settings.optimizer, list(self.model.named_parameters()))
        if self.lies_in_shards and isinstance(self.optimizer, FoundWeights):
            raise UserError(
                "train.distribution = 'fsdp': train.optimizer finds other weights than it trains "
                "at, and those are not kept in shards: set train.distribution = 'ddp'"
            )
        self.recorder = Recorder(device)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._scaler = scaler(settings.precision, device)
        self.use(Passes())

    def begin(self) -> None:
        """Take the weights that `train.start` names, if any; every average starts from them too.

        Raises:
            UserError: they cannot be read, or are not those of this network.
        """
        if self.settings.start is None:
            return
        found = read_for(self.model.state_dict(), self.settings.start)
        for network in (self.model, *self.averages.networks.values()):
            self.placement.load(network, found)

    def use(self, passes: Passes) -> None:
        """Run the network with these passes from now on, checkpointed as the settings say."""
        settings = self.settings
        passes = self.placement.passes(replace(passes, checkpoint_every=settings.checkpointing))
        autocasting = partial(autocast, settings.precision, self.device)
        self._evaluate = Evaluator(self.model, self.averages.networks, passes, autocasting)
        gradients = Gradients(
            settings.loss,
            self._evaluate,
            self._scaler.scale,
            self.placement,
            self.world,
            self._pieces,
        )
        graphed = settings.cuda_graphs and self.device.type == "cuda"
        self._gradients = GraphedGradients(gradients, self.model) if graphed else gradients
        alone = replace(gradients, placement=Replicated(1), world=ALONE)
        several_whole = self.world.size > 1 and not self.lies_in_shards
        self._trial = alone if several_whole else self._gradients

    def try_step(self, batch: Batch) -> None:
        """Run a step's forward and backward passes and forget their result.

        Where weights lie whole nothing is sent: other processes may do something else.
        """
        self._trial(batch)
        self.optimizer.zero_grad(set_to_none=True)

    def train_step(self, batch: Batch) -> None:
        """Make one update from a batch and record its scalars."""
        self.step += 1
        summary = self._gradients(batch)
        with section("optimizer"):
            self._scaler.unscale_(self.optimizer)
            norm = self._clip()
            self._set_rate()
            self._scaler.step(self.optimizer)
            self._scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        with section("averages"):
            self.averages.update(self.step, self._found())
        with section("logging"):
            self._record(summary, norm)

    @property
    def lies_in_shards(self) -> bool:
        """Whether each process holds but a part of the weights."""
        return self.settings.distribution == "fsdp" and self.world.size > 1

    def network(self, weights: str) -> nn.Module:
        """Return the network with the trained weights, or with an average of them, by name.

        The trained weights are those that the optimizer has found, where it trains at others: then
        they are a copy, as they are now.

        Raises:
            UserError: there are no such weights.
        """
        known = {TRAINED: self.model, **self.averages.networks}
        if weights not in known:
            raise UserError(f"no weights are called '{weights}': choose one of {', '.join(known)}")
        if weights == TRAINED and isinstance(self.optimizer, FoundWeights):
            return self._copy_of_found()
        return known[weights]

    def _found(self) -> list[Tensor]:
        """Return this process's part of the weights that evaluation and averages see, in order."""
        if isinstance(self.optimizer, FoundWeights):
            return self.optimizer.found_weights()
        return self.placement.local(self.model)

    @torch.no_grad()
    def _copy_of_found(self) -> nn.Module:
        network = copy.deepcopy(self.model).requires_grad_(False)
        for parameter, weight in zip(network.parameters(), self._found(), strict=True):
            parameter.copy_(weight)
        return network

    def terms(self, batch: Batch) -> LossTerms:
        """Return a batch's loss terms with what was observed of them."""
        return observed_terms(self.settings.loss, batch, self._evaluate)

    def _clip(self) -> Tensor:
        """Return the norm of the whole gradient, bounding it if asked to."""
        limit = self.settings.clip_norm
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = self.placement.norm(gradients)
        if limit is not None:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), limit, norm)
        return norm

    def _set_rate(self) -> None:
        factor = self.settings.schedule(self.step, self.settings.steps)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def _record(self, summary: Summary, norm: Tensor) -> None:
        rate = torch.full((), self.optimizer.param_groups[0]["lr"], device=self.device)
        values = {"loss/total": summary.loss, "gradient_norm": norm, "learning_rate": rate}
        self.recorder.record(self.step, values | dict(summary.observed))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "averages": self.averages.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "recorder": self.recorder.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.step = state["step"]
        self.placement.load(self.model, state["model"])
        self.averages.load_state_dict(state["averages"])
        self.placement.load_optimizer(self.optimizer, state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.recorder.load_state_dict(state["recorder"])


def construct_model(settings: Train) -> Model:
    """Return the model of a run before its weights are set, on the device of the context.

    Raises:
        UserError: it is not a module.
    """
    dataset = settings.dataset
    model = settings.model(shape=dataset.shape, num_classes=dataset.num_classes)
    as_module(model)
    return model


def as_module(model: Model) -> nn.Module:
    """Return the model as the module it has to be.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"train.model builds a {type(model).__name__}: it has to be an nn.Module")
    return model


def build_model(settings: Train, device: torch.device) -> nn.Module:
    """Return the model of a run with its initial weights, on the device.

    Each parameter is drawn from the stream of its own name, so that arms of one seed which share a
    layer start it alike. Draws are the CPU's; what is computed from them, such as singular values,
    is computed on the device. What a component draws in its constructor is seeded too.
    """
    streams = Streams(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams.generator("construction").initial_seed())
        model = construct_model(settings)
    as_module(model).to(device)
    model.initialize(lambda name: streams.generator(f"parameter/{name}"))
    return as_module(model)
