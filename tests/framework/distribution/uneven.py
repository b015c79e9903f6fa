"""A network that is not trained alike everywhere: what two processes make of it."""

from functools import partial
from pathlib import Path

import torch
from torch import nn

from framework.distribution import ALONE
from framework.errors import UserError
from framework.protocols import Batch, LossTerms, Query
from framework.training import replicas
from framework.training.settings import Train
from framework.training.trainer import Trainer
from tests.framework.training.stand_ins import Constant, Data

RARE = 1  # a class that only the second process sees, in the second step
EMPTY = 2
STEPS = 4


class Net(nn.Module):
    """Has parameters for a rare class, one that is frozen at first, and one that nothing uses."""

    def __init__(self, shape, num_classes):
        super().__init__()
        self.often, self.rare, self.thawed, self.unused = (
            nn.Parameter(torch.full((4,), value)) for value in (0.5, 1.0, 1.5, 2.0)
        )
        self.thawed.requires_grad_(False)

    def initialize(self, generators):
        pass

    def forward(self, x, t, s, c, w):
        x = self.often * x + self.thawed
        rare = c == RARE
        return x + self.rare * rare[:, None] if rare.any() else x


class Either(Net):
    """Uses one of two parameters of one size."""

    def forward(self, x, t, s, c, w):
        return self.often * x + (self.rare if (c == RARE).any() else self.unused)


class Normalized(Net):
    """Keeps the statistics of the samples that it has seen."""

    def __init__(self, shape, num_classes):
        super().__init__(shape, num_classes)
        self.normalize = nn.BatchNorm1d(4, affine=False)

    def forward(self, x, t, s, c, w):
        return super().forward(self.normalize(x), t, s, c, w)


class Loss:
    """The error of F as an estimate of the noise; from the third step on it trains all of Net."""

    def __init__(self, turned, late):
        self.turned, self.late, self.net, self.steps = turned, late, None, 0

    def averages(self):
        return {}

    def __call__(self, batch, evaluate):
        self.steps += 1
        if self.steps == 3:
            self.net.thawed.requires_grad_(True)
        one = torch.ones(len(batch.x0))
        (at,) = evaluate(Query(batch.x0, one, one, batch.labels, one))
        return LossTerms((at.F - batch.noise).square().sum(1), self.parts(at.F, batch.labels))

    def parts(self, F, labels):
        """Return parts in an order of each process's own, one of which the first one lacks."""
        parts = {"a": F[:, 0], "b": F[:, 1]}
        if self.turned:
            parts = dict(reversed(parts.items()))
        if (labels == EMPTY).any():
            parts["empty"] = F[:, 2].where(labels == EMPTY, torch.nan)
        if self.late and self.steps == 2:
            parts["late"] = F[:, 3]
        return {name: part.detach() for name, part in parts.items()}


def trainer(world, net=Net, late=False, **changes):
    settings = Train(
        model=net,
        loss=Loss(turned=not world.leads, late=late),
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
        schedule=Constant(),
        dataset=Data(),
        evaluation_average=Constant(),
        steps=STEPS,
        batch_size=4,
        **{"clip_norm": 0.5, **changes},
    )
    made = Trainer(settings, torch.device("cpu"), world)
    settings.loss.net = made.model
    return made


def batch(step, world):
    g = torch.Generator().manual_seed(step)
    x0, noise = torch.randn(2, 4, 4, generator=g)
    labels = torch.tensor([0, 0, EMPTY, RARE if step == 2 else 0])
    own = list(world.share(4))
    return Batch(x0[own], noise[own], labels[own], EMPTY, lambda stream, width: None)


def trained(world, waiting=False, **changes):
    """Return a trainer after some steps; with `waiting` each is made alone, and summed up then."""
    made = trainer(world, **changes)
    if waiting:
        gradients = made._gradients
        made._gradients = lambda batch: gradients.of_all(gradients.piece(batch))
    for step in range(1, STEPS + 1):
        made.train_step(batch(step, world))
    return made


def outcome(trainer):
    weights = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    return trainer.recorder.history(STEPS), weights


def checked(trainer, world):
    """Return why the processes' trainers are not alike; "" if they are."""
    return refusal(lambda: replicas.check(trainer, world, Path("runs/odd")))


def explore(world):
    """Return what happens."""
    two = trained(world)
    found = {"everyone's": world.everyones(outcome(two)), "alike": checked(two, world)}
    found["everyone's later"] = world.everyones(outcome(trained(world, waiting=True)))
    with torch.no_grad():
        two.averages.networks["evaluation"].rare[3].nextafter_(torch.tensor(9.0 * world.rank))
    found["a bit apart"] = checked(two, world)
    two.step += world.rank
    found["a step apart"] = checked(two, world)
    found["buffers"] = checked(trained(world, net=Normalized), world)
    found["in shards"] = world.everyones(
        refusal(lambda: trained(world, net=Either, distribution="fsdp", clip_norm=None))
    )
    found["late part"] = refusal(lambda: trained(world, late=True))
    found["said"] = world.everyones(None if world.leads else 1)
    if world.leads:
        found["one's"] = outcome(trained(ALONE))
    return found


def refusal(run):
    """Return why something is refused; "" if it is not."""
    try:
        run()
    except UserError as error:
        return str(error)
    return ""
