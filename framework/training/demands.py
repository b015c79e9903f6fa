"""What a loss and a sampler ask of a network, found by letting them ask and answering zeros.

Nothing is trained and no network is run: it takes milliseconds, on a CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from framework.answers import check_query
from framework.errors import UserError
from framework.evaluator import MOVABLE, TRAINED
from framework.protocols import Batch, Dataset, Evaluation, Loss, Query, Sampler
from framework.registry import name_of

_ELEMENTS = 2**22  # of the batch that a loss is tried with, about
_LEAST, _MOST = 32, 256  # samples of that batch
_RARE = 1e-9
_ROOM = 1.01  # a weight within this factor of those trained is one of them


@dataclass
class Demands:
    """What was asked for.

    jumps: evaluations with s < t of the trained weights.
    moving: the sets of inputs that tangents move, each as in `evaluator.MOVABLE`.
    weights: the names of the weights asked for.
    low, high: the range of guidance weights with a class; NaN where there was none.
    classes: whether a class was asked for, other than the empty one.
    empty: whether the empty class was asked for.
    evaluations: how often the network was asked.
    """

    jumps: bool = False
    moving: set[tuple[str, ...]] = field(default_factory=set)
    weights: set[str] = field(default_factory=set)
    low: float = math.nan
    high: float = math.nan
    classes: bool = False
    empty: bool = False
    evaluations: int = 0

    def note(self, t: Tensor, s: Tensor, c: Tensor, w: Tensor, empty_class: int) -> None:
        """Take up one evaluation of times t >= s, classes c and weights w, (B,) each."""
        self.evaluations += 1
        self.jumps |= bool((s < t).any())
        own = c != empty_class
        self.classes |= bool(own.any())
        self.empty |= bool((~own).any())
        if own.any():
            least, most = (float(bound) for bound in w[own].aminmax())
            self.low = least if math.isnan(self.low) else min(self.low, least)
            self.high = most if math.isnan(self.high) else max(self.high, most)

    @property
    def varies(self) -> bool:
        """Whether classes were asked for at several guidance weights."""
        return self.high > _ROOM * self.low

    def outside(self, trained: Demands) -> float | None:
        """Return a guidance weight asked for with a class that is none of those trained, if any."""
        if self.low < trained.low / _ROOM:
            return self.low
        return self.high if self.high > trained.high * _ROOM else None


@dataclass
class LossDemands:
    """What a loss trains, and what it asks for as a target, without gradient."""

    trained: Demands = field(default_factory=Demands)
    targets: Demands = field(default_factory=Demands)


def of_loss(loss: Loss, dataset: Dataset) -> LossDemands:
    """Return what a loss asks for on one batch.

    Its uniforms cover (0, 1) evenly and come near to 0 and 1: what any share makes happen, does.

    Raises:
        UserError: it asks for what no network takes.
    """
    found = LossDemands()
    empty_class = dataset.num_classes

    def evaluate(*queries: Query) -> tuple[Evaluation, ...]:
        for query in queries:
            try:
                check_query(query, dataset.shape, empty_class)
            except UserError as error:
                raise UserError(f"{name_of(loss)}: {error}") from error
            demands = found.trained if _trains(query) else found.targets
            demands.weights.add(query.weights)
            demands.note(query.t, query.s, query.c, query.w, empty_class)
            if query.tangent is not None:
                moving = [name for name in MOVABLE if getattr(query.tangent, name) is not None]
                demands.moving.add(tuple(moving))
        return tuple(_nothing(query) for query in queries)

    count = max(_LEAST, min(_MOST, _ELEMENTS // math.prod(dataset.shape)))
    loss(_batch(dataset, count), evaluate)
    return found


def of_sampler(sampler: Sampler, nfe: int | None, dataset: Dataset, weight: float) -> Demands:
    """Return what a sampler asks for; `jumps` only where it asks for a displacement.

    Raises:
        ValueError: it cannot spend that many evaluations.
    """
    found = Demands()
    noise = torch.zeros(1, *dataset.shape)
    w = torch.full((1,), weight)
    sampler(_Field(found, dataset.num_classes), noise, torch.zeros(1, dtype=torch.int64), w, nfe)
    return found


class _Field:
    """A flow that stands still and notes what it is asked."""

    def __init__(self, found: Demands, num_classes: int) -> None:
        self._found = found
        self.empty_class = num_classes

    def displacement(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        self._found.note(t, s, c, w, self.empty_class)
        return torch.zeros_like(x)

    def velocity(self, x: Tensor, t: Tensor, c: Tensor, w: Tensor) -> Tensor:
        self._found.note(t, t, c, w, self.empty_class)
        return torch.zeros_like(x)


def _trains(query: Query) -> bool:
    return query.weights == TRAINED and query.gradient


def _nothing(query: Query) -> Evaluation:
    zeros = torch.zeros_like(query.x)
    return Evaluation(zeros, None if query.tangent is None else zeros)


def _batch(dataset: Dataset, count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    examples = torch.zeros(count, *dataset.shape)
    labels = torch.arange(count) % dataset.num_classes

    def uniform(stream: str, width: int) -> Tensor:
        ranks = [torch.randperm(count, generator=generator) for _ in range(width)]
        rank = torch.stack(ranks, dim=1).double()
        even = (rank + 0.5) / count
        even[rank == 0], even[rank == count - 1] = _RARE, 1 - _RARE
        return even

    return Batch(examples, torch.ones_like(examples), labels, dataset.num_classes, uniform)
