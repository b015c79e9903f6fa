"""A loss under observation: what it draws, asks for and answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from zlib import crc32

import torch
from torch import Tensor

from framework.flow import expand
from framework.probing.fingerprints import GUIDANCE, LOSSES, TIMES, Fingerprint
from framework.protocols import (
    Batch,
    Evaluate,
    Evaluation,
    Loss,
    LossTerms,
    Query,
    WeightAverage,
)
from framework.streams import Streams

MOST_DRAWS = 4096
LEAST_DRAWS = 256
MOST_ELEMENTS = 2**20  # of one tensor of many draws


class WatchedLoss:
    """Passes everything through and keeps the terms of a step; `scale` amplifies the gradient."""

    def __init__(self, loss: Loss) -> None:
        self.flow_map, self.guidance = loss.flow_map, loss.guidance
        self.scale = 1.0
        self._loss = loss
        self._terms: list[LossTerms] = []

    def averages(self) -> Mapping[str, WeightAverage]:
        """Return the loss's own."""
        return self._loss.averages()

    def __call__(self, batch: Batch, evaluate: Evaluate) -> LossTerms:
        """Return the loss's own terms, with the total scaled."""
        terms = self._loss(batch, evaluate)
        self._terms.append(terms)
        return replace(terms, total=terms.total * self.scale)

    def taken(self) -> LossTerms:
        """Return the terms of all samples since the last time, in however many micro-batches."""
        terms, self._terms = self._terms, []
        total = torch.cat([each.total.detach() for each in terms])
        return LossTerms(total, {n: torch.cat([e.parts[n] for e in terms]) for n in terms[0].parts})


def observe_draws(to: Fingerprint, loss: Loss, batch: Batch, streams: Streams) -> None:
    """Note the times, classes and weights of many samples, and the losses of a made-up network.

    The batch is repeated as often as it takes; uniforms are drawn for every sample. Without a
    network this costs next to nothing, so that a probability of a thousandth is seen to act.
    """
    many = _repeated(batch, streams)
    asked: list[Query] = []

    def answer(*queries: Query) -> tuple[Evaluation, ...]:
        asked.extend(queries)
        return tuple(map(_made_up, queries))

    with torch.no_grad():
        terms = loss(many, answer)
    for query in asked:
        to.add(TIMES, "", query.t)
        to.add(TIMES, "", query.s)
        to.add(GUIDANCE, "", query.c)
        to.add(GUIDANCE, "", query.w)
    observe_terms(to, LOSSES, terms, "made-up/")


def observe_terms(to: Fingerprint, group: str, terms: LossTerms, prefix: str) -> None:
    """Note a loss and its parts."""
    to.add(group, f"{prefix}total", terms.total)
    to.add_all(group, prefix, terms.parts.items())


def _repeated(batch: Batch, streams: Streams) -> Batch:
    """Return the batch of step 1 with many samples: its own ones over and over."""
    size = math.prod(batch.x0.shape[1:])
    count = max(LEAST_DRAWS, min(MOST_DRAWS, MOST_ELEMENTS // size))

    def many(x: Tensor) -> Tensor:
        return x.repeat(-(-count // len(x)), *[1] * (x.ndim - 1))[:count].clone()

    def uniform(stream: str, width: int) -> Tensor:
        return streams.uniform(stream, 1, range(count), width)

    return replace(
        batch,
        x0=many(batch.x0),
        noise=many(batch.noise),
        labels=many(batch.labels),
        uniform=uniform,
    )


def _made_up(query: Query) -> Evaluation:
    """Answer for a network that depends on all that it is given, and on which weights it has."""
    x = query.x
    weights = 1 + 0.1 * (crc32(query.weights.encode()) % 97) / 97
    of_times = expand(torch.cos(query.t + 2 * query.s) + 0.1 * query.w, x)
    F = weights * x * of_times + expand(torch.sin(query.c.to(x)), x)
    tangent = query.tangent
    if tangent is None:
        return Evaluation(F)
    dF = torch.zeros_like(F)
    along_s, along_t = tangent.s, tangent.t
    slope = -weights * x * expand(torch.sin(query.t + 2 * query.s), x)
    if tangent.x is not None:
        dF = dF + weights * tangent.x * of_times
    if along_t is not None:
        dF = dF + slope * expand(along_t, x)
    if along_s is not None:
        dF = dF + 2 * slope * expand(along_s, x)
    return Evaluation(F, dF)
