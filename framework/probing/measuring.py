"""Three updates of a shrunk run, and what they did."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from framework.configuration import Resolved
from framework.distribution import trees
from framework.errors import UserError
from framework.probing import fingerprints as at
from framework.probing.fingerprints import Fingerprint
from framework.probing.observing import WatchedLoss, observe_draws, observe_terms
from framework.probing.parts import observe_data, observe_length, observe_parts
from framework.streams import Streams
from framework.training.batches import Batches
from framework.training.experiment import Experiment
from framework.training.sampling import Draws, draw, field_of
from framework.training.scoring import sampling_weights
from framework.training.settings import Evaluation
from framework.training.trainer import Trainer, as_module, construct_model
from framework.training.weights import EVALUATION

UPDATES = 3
AMPLIFIED = 1e8  # times the loss: a gradient that any bound on its norm acts on
PERTURBATION = 0.05
SAMPLED = 16
LARGEST_NFE = 4
MOST_PARAMETERS = 30_000_000
SCORED = 256
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Measured:
    """What a probed run did, and the seconds that one of its updates took."""

    fingerprint: Fingerprint
    step_seconds: float


def measure(resolved: Resolved, *, scored: bool = False, data: bool = False) -> Measured:
    """Return what a small run on the CPU does in its first updates.

    Args:
        resolved: The run, shrunk.
        scored: Whether its metrics are asked too: they may train a classifier first.
        data: Whether its dataset is looked at beyond the batches of those updates.

    Raises:
        UserError: the network is too large for it, or a component refuses its settings.
    """
    experiment = Experiment.build(resolved)
    watched = WatchedLoss(experiment.train.loss)
    train = replace(experiment.train, loss=watched)
    found, streams = Fingerprint(), Streams(train.seed)
    with resolved.refusals():
        with torch.device("meta"):
            _check_size(as_module(construct_model(train)))
        trainer = Trainer(train, CPU)
        trainer.begin()
    found.add_all(at.INITIAL, "", _shaped(trainer.model))
    _enliven(trainer)
    batches = Batches(train.dataset, streams, train.batch_size, CPU)
    observe_draws(found, experiment.train.loss, batches.at(1), streams)
    observe_length(found, experiment)
    observe_parts(found, experiment.train, trainer.model)
    if data:
        observe_data(found, train.dataset)
    seconds = _train(found, trainer, watched, batches)
    samples, classes = _sample(found, trainer, experiment, SCORED if scored else SAMPLED)
    if scored:
        for metric in experiment.evaluation.metrics:
            for score in metric(dataset=train.dataset)(samples, classes):
                found.say(at.SCORES, score.name, score.value)
    _amplify(found, trainer, watched, batches)
    return Measured(found, seconds)


def _check_size(model: nn.Module) -> None:
    count = sum(p.numel() for p in model.parameters())
    if count > MOST_PARAMETERS:
        raise UserError(
            f"the probe would train {count / 1e6:.0f} M parameters on the CPU: bind smaller sizes "
            "in grid.probe, such as {'models.dit.depth': 2}, or leave the probe out with --no-probe"
        )


def _shaped(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters under names that say their shape."""
    for name, parameter in model.named_parameters():
        yield f"{name} {tuple(parameter.shape)}", parameter


@torch.no_grad()
def _enliven(trainer: Trainer) -> None:
    """Move zero-initialised weights off zero, alike in all runs, and the averages with them.

    A network whose output layer is zero passes on nothing of what lies before it.
    """
    streams = Streams(0)
    for name, parameter in trainer.model.named_parameters():
        if not parameter.any():
            generator = streams.generator(f"probe/{name}")
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise.to(parameter.dtype), alpha=PERTURBATION)
    for network in trainer.averages.networks.values():
        network.load_state_dict(trainer.model.state_dict())


def _train(to: Fingerprint, trainer: Trainer, loss: WatchedLoss, batches: Batches) -> float:
    """Make the updates; return the seconds of the fastest."""
    seconds = []
    hooks = _watch_gradients(to, trainer)
    for step in range(1, UPDATES + 1):
        batch = batches.at(step)
        began = time.perf_counter()
        trainer.train_step(batch)
        seconds.append(time.perf_counter() - began)
        to.add(at.DATA, f"x0 {step}", batch.x0)
        to.add(at.DATA, f"labels {step}", batch.labels)
        to.add(at.NOISE, str(step), batch.noise)
        observe_terms(to, at.LOSSES if step == 1 else at.LATER, loss.taken(), f"{step}/")
    for hook in hooks:
        hook.remove()
    to.add_all(at.WEIGHTS, "", trainer.model.named_parameters())
    to.add_all(at.OPTIMIZER, "", _optimizer_state(trainer))
    for name, network in trainer.averages.networks.items():
        to.add_all(at.AVERAGES, f"{name}/", network.named_parameters())
    return min(seconds)


def _watch_gradients(to: Fingerprint, trainer: Trainer) -> list[torch.utils.hooks.RemovableHandle]:
    """Note each gradient of each update as soon as it is there."""

    def note(name: str, parameter: Tensor) -> None:
        if parameter.grad is not None:
            group = at.GRADIENTS if trainer.step == 1 else at.LATER
            to.add(group, f"gradient {trainer.step}/{name}", parameter.grad)

    return [
        parameter.register_post_accumulate_grad_hook(partial(note, name))
        for name, parameter in trainer.model.named_parameters()
    ]


def _optimizer_state(trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of the optimizer's state, in whatever form it keeps that."""
    found: dict[str, object] = {}
    trees.mapped(trainer.optimizer.state_dict(), found.setdefault)
    yield from ((name, value) for name, value in found.items() if isinstance(value, Tensor))


def _sample(
    to: Fingerprint, trainer: Trainer, experiment: Experiment, count: int
) -> tuple[Tensor, Tensor]:
    """Sample the averaged weights at the evaluation's smallest NFEs; return the last samples."""
    settings, train = experiment.evaluation, experiment.train
    latents, classes = Draws(train.dataset, Streams(train.seed), CPU).block(0, count)
    network = trainer.averages.networks[EVALUATION]
    field = field_of(network, train, CPU)
    weights = sampling_weights(settings, train.loss.guidance.weight)
    samples = latents
    for weight, nfe in itertools.product(weights, _probed_nfe(settings)):
        samples = draw(settings.sampler, field, latents, classes, weight, nfe, count)
        to.add(at.SAMPLES, f"nfe={nfe}, weight {weights.index(weight)}", samples)
    to.add(at.LATENTS, "latents", latents)
    to.add(at.LATENTS, "classes", classes)
    return samples, classes


def _probed_nfe(settings: Evaluation) -> Sequence[int | None]:
    """Return the smallest NFE that the run is scored at, and one at which times matter."""
    wanted = settings.nfe
    if not wanted:
        return settings.counts
    several = [nfe for nfe in sorted(wanted) if nfe > 1]
    chosen = [min(wanted), *several[:1], *[nfe for nfe in several if nfe <= LARGEST_NFE]]
    return list(dict.fromkeys(chosen))


def _amplify(to: Fingerprint, trainer: Trainer, loss: WatchedLoss, batches: Batches) -> None:
    """Make one more update with an enormous gradient: bounds on its norm show in what it leaves."""
    loss.scale = AMPLIFIED
    trainer.train_step(batches.at(UPDATES + 1))
    to.add_all(at.CLIPPING, "", trainer.model.named_parameters())
    to.add_all(at.CLIPPING, "optimizer/", _optimizer_state(trainer))
