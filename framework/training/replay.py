"""Where a divergence began: the step is made again, from a checkpoint, with an eye on each module.

After the fact every weight is NaN and tells nothing. Draws are functions of the step, so that a
replay from the last checkpoint before meets the same step again (on a GPU to the bit only with
`train.deterministic`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from framework.distribution.placement import local_part
from framework.evaluator import TRAINED
from framework.passes import Passes
from framework.training.batches import Batches
from framework.training.checkpoints import Checkpoints
from framework.training.signals import AgreedStop
from framework.training.trainer import Trainer

log = logging.getLogger(__name__)

MOST_SECONDS = 300.0


@dataclass(frozen=True)
class Replay:
    """Makes the step again at which a run diverged.

    Args:
        trainer: the run's; it is left at that step, its weights of no use.
        batches, checkpoints, stop: the run's.
        steps_per_second: its pace; a replay that would take more than five minutes is not made.
    """

    trainer: Trainer
    batches: Batches
    checkpoints: Checkpoints
    stop: AgreedStop
    steps_per_second: float

    def origin(self, step: int) -> str:
        """Return in words where a value first was not finite at `step`, or why that is unknown."""
        try:
            return self._origin(step)
        except torch.OutOfMemoryError:
            return "unknown (no memory for a replay)"

    def _origin(self, step: int) -> str:
        device = self.trainer.device
        world, empty = self.trainer.world, self.trainer.placement.empty
        place = "cpu" if self.trainer.lies_in_shards else device
        state = self.checkpoints.load(place, before=step, empty=empty)
        start = 0 if state is None else int(state["step"])
        if (step - start) / max(self.steps_per_second, 1e-9) > MOST_SECONDS:
            return f"unknown (a replay from step {start} would take more than five minutes)"
        log.info("looking for the first module: steps %d to %d again", start + 1, step)
        trainer = Trainer(self.trainer.settings, device, world) if state is None else self.trainer
        if state is not None:
            trainer.load_state_dict(state)
        else:
            trainer.begin()
        while trainer.step < step - 1:
            if self.stop.agreed():
                return f"unknown (the replay was stopped by {self.stop.signal})"
            trainer.train_step(self.batches.at(trainer.step + 1))
        found = first_not_finite(trainer, self.batches, step)
        return found or f"unknown (a replay from step {start} stayed finite)"


def first_not_finite(trainer: Trainer, batches: Batches, step: int) -> str:
    """Return where the passes of `step` first make a value that is not finite; "" for nowhere.

    The trainer stands before that step. Its passes run uncompiled: hooks see every module. Each
    process looks at its own samples, and the first of them that finds something has the word.
    """
    trainer.use(Passes())
    watch = _Watch()
    with ExitStack() as hooks:
        for weights, network in {TRAINED: trainer.model, **trainer.averages.networks}.items():
            watch.enter(hooks, weights, network)
        terms = trainer.terms(batches.at(step))
        if not watch.found and not terms.total.isfinite().all():
            watch.found.append("the loss, from outputs of the network that are finite")
        if not trainer.world.any(bool(watch.found)):
            terms.total.mean().backward()
            watch.gradients(trainer)
    trainer.optimizer.zero_grad(set_to_none=True)
    found = trainer.world.everyones("".join(watch.found[:1]))
    return next((words for words in found if words), "")


@dataclass
class _Watch:
    """Finds the first value that is not finite, in order of computation."""

    found: list[str] = field(default_factory=list)

    def enter(self, hooks: ExitStack, weights: str, network: nn.Module) -> None:
        """Watch every module of a network, and the gradients of its parameters."""
        for name, module in network.named_modules():
            seen = partial(self._output, name or "the whole network", weights)
            hooks.callback(module.register_forward_hook(seen).remove)
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                hooks.callback(parameter.register_hook(partial(self._gradient, name)).remove)

    def gradients(self, trainer: Trainer) -> None:
        """Look at what the backward pass has left, whose parts may lie in shards."""
        named = [(n, p.grad) for n, p in trainer.model.named_parameters() if p.grad is not None]
        for name, gradient in named:
            self._gradient(name, local_part(gradient))
        if not self.found and not _is_finite(trainer.placement.norm([g for _, g in named])):
            self.found.append("the norm of the gradient, from gradients that are finite")

    def _output(self, name: str, weights: str, module: nn.Module, args: Any, output: Any) -> None:
        if self.found:
            return
        kind = next((kind for kind, value in _parts(output) if not _is_finite(value)), None)
        if kind is None:
            return
        own = module.parameters(recurse=False)
        broken = not all(_is_finite(parameter) for parameter in own)
        why = "its weights are not finite" if broken else f"its {kind} is not finite"
        self.found.append(f"{name} of the {weights} weights: {why}")

    def _gradient(self, name: str, gradient: Tensor) -> None:
        if not self.found and not _is_finite(gradient):
            self.found.append(f"{name} of the {TRAINED} weights: its gradient is not finite")


def _parts(output: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a module's output, and their tangents."""
    for value in output if isinstance(output, tuple | list) else (output,):
        if isinstance(value, Tensor):
            primal, tangent = forward_ad.unpack_dual(value)
            yield "output", primal
            if tangent is not None:
                yield "tangent", tangent


def _is_finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())
