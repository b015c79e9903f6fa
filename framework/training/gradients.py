"""The gradient of one batch: in micro-batches, and replayed from a CUDA graph where that pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from framework.distribution import World
from framework.distribution.placement import Placement
from framework.protocols import Batch, Evaluate, Loss, LossTerms
from framework.sections import section
from framework.training.observation import observed_terms, reduced

WARM_UP = 3  # steps before a capture, so that kernels are compiled and libraries have started


@dataclass(frozen=True)
class Summary:
    """The mean loss of the global batch and what was observed of it, 0-d each, without gradient."""

    loss: Tensor
    observed: Mapping[str, Tensor]


@dataclass(frozen=True)
class Gradients:
    """Adds the gradient of a batch's mean loss to the parameters.

    The batch, or this process's part of it, goes through in `pieces` equal micro-batches. Draws
    belong to samples and the loss is a mean over the global batch, so that neither the number of
    micro-batches nor that of processes changes sums by more than rounding.
    """

    loss: Loss
    evaluate: Evaluate
    scale: Callable[[Tensor], Tensor]
    placement: Placement
    world: World
    pieces: int = 1

    def __call__(self, batch: Batch) -> Summary:
        """Run forward and backward passes on this process's part of the global batch."""
        size = len(batch.x0) * self.world.size
        totals, parts = [], []
        for number, piece in enumerate(micro_batches(batch, self.pieces), start=1):
            terms = observed_terms(self.loss, piece, self.evaluate)
            with section("backward"):
                self.placement.before_backward(last=number == self.pieces)
                self.scale(terms.total.sum() / size).backward()
            totals.append(terms.total.detach())
            parts.append(terms.parts)
        with section("backward"):
            self.placement.reduce()
        total = torch.cat(totals)
        seen = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        terms = _of_all(LossTerms(total, seen), self.world)
        return Summary(terms.total.mean(), reduced(terms))


def _of_all(terms: LossTerms, world: World) -> LossTerms:
    """Return the terms of the global batch, in the order of its samples."""
    if world.size == 1:
        return terms
    rows = torch.stack([terms.total, *terms.parts.values()], dim=1)
    total, *parts = world.gathered(rows).unbind(dim=1)
    return LossTerms(total, dict(zip(terms.parts, parts, strict=True)))


def micro_batches(batch: Batch, pieces: int) -> Iterator[Batch]:
    """Yield a batch in equal pieces, each with the draws of its own samples."""
    size = len(batch.x0) // pieces
    for start in range(0, size * pieces, size):
        part = slice(start, start + size)

        def uniform(stream: str, width: int, part: slice = part) -> Tensor:
            return batch.uniform(stream, width)[part]

        x0, noise, labels = batch.x0[part], batch.noise[part], batch.labels[part]
        yield batch if pieces == 1 else Batch(x0, noise, labels, batch.empty_class, uniform)


class GraphedGradients:
    """Replays `Gradients` from a CUDA graph, recorded after a few steps.

    One launch stands for the thousands of a step, which bound small networks. What the loss reads
    of a batch lies at fixed addresses, and so do the gradients, which each replay overwrites.
    """

    def __init__(self, gradients: Gradients, model: nn.Module) -> None:
        self._gradients = gradients
        self._parameters = list(model.parameters())
        self._seen = 0
        self._held: _HeldBatch | None = None
        self._recorded: _Recorded | None = None

    def __call__(self, batch: Batch) -> Summary:
        """Run forward and backward passes."""
        if self._held is None:
            self._held = _HeldBatch(batch)
        else:
            self._held.fill(batch)
        if self._seen < WARM_UP:
            self._seen += 1
            return self._beside(self._held.batch)
        if self._recorded is None:
            self._recorded = self._record(self._held.batch)
        self._recorded.graph.replay()
        for parameter, gradient in zip(self._parameters, self._recorded.found, strict=True):
            parameter.grad = gradient
        return self._recorded.summary

    def _beside(self, batch: Batch) -> Summary:
        """Run on another stream, as a recording does."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            summary = self._gradients(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return summary

    def _record(self, batch: Batch) -> _Recorded:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            summary = self._gradients(batch)
        return _Recorded(graph, summary, [parameter.grad for parameter in self._parameters])


class _Recorded(NamedTuple):
    """A graph and where its results lie after a replay."""

    graph: torch.cuda.CUDAGraph
    summary: Summary
    found: list[Tensor | None]


class _HeldBatch:
    """A batch at fixed addresses."""

    def __init__(self, batch: Batch) -> None:
        self._source = batch
        self._uniforms: dict[tuple[str, int], Tensor] = {}
        self.batch = replace(
            batch,
            x0=batch.x0.clone(),
            noise=batch.noise.clone(),
            labels=batch.labels.clone(),
            uniform=self._uniform,
        )

    def fill(self, batch: Batch) -> None:
        """Take another batch's contents."""
        self._source = batch
        self.batch.x0.copy_(batch.x0)
        self.batch.noise.copy_(batch.noise)
        self.batch.labels.copy_(batch.labels)
        for (stream, width), held in self._uniforms.items():
            held.copy_(batch.uniform(stream, width))

    def _uniform(self, stream: str, width: int) -> Tensor:
        key = stream, width
        if key not in self._uniforms:
            self._uniforms[key] = self._source.uniform(stream, width).clone()
        return self._uniforms[key]
