"""The gradient of one batch: in micro-batches, and replayed from a CUDA graph where that pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from framework.distribution import World
from framework.distribution.placement import Placement
from framework.errors import UserError
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
    _columns: list[str] = field(default_factory=list, init=False)  # parts, as all name them

    def __call__(self, batch: Batch) -> Summary:
        """Run forward and backward passes on this process's part of the global batch."""
        return self.of_all(self.own(batch))

    def own(self, batch: Batch, sending: bool = True) -> LossTerms:
        """Add the gradient of this process's part of the batch, and return the terms of that part.

        With `sending` gradients may leave for other processes as soon as they are complete.
        """
        size = len(batch.x0) * self.world.size
        totals, parts = [], []
        for number, piece in enumerate(micro_batches(batch, self.pieces), start=1):
            terms = observed_terms(self.loss, piece, self.evaluate)
            with section("backward"):
                self.placement.before_backward(last=sending and number == self.pieces)
                self.scale(terms.total.sum() / size).backward()
            totals.append(terms.total.detach())
            parts.append(terms.parts)
        return _joined(totals, parts)

    def of_all(self, own: LossTerms) -> Summary:
        """Let gradients be those of all processes, and return what their terms come to."""
        with section("backward"):
            self.placement.reduce()
        terms = self._everyones(own)
        return Summary(terms.total.mean(), reduced(terms))

    def _everyones(self, terms: LossTerms) -> LossTerms:
        """Return the terms of the global batch, in the order of its samples.

        Raises:
            UserError: a part of the loss was in no process at the first step.
        """
        if self.world.size == 1:
            return terms
        if not self._columns:
            names = self.world.everyones(["", *terms.parts])
            self._columns.extend(dict.fromkeys(name for own in names for name in own))
        columns = {"": terms.total, **terms.parts}
        if strange := columns.keys() - self._columns:
            raise UserError(
                f"the part '{min(strange)}' of the loss's terms was not there at the first step: "
                "for several processes, return it at every step, NaN for samples that lack it"
            )
        own = [_or_absent(columns.get(name), terms.total) for name in self._columns]
        rows = torch.stack(own, dim=1)
        found = dict(zip(self._columns, self.world.gathered(rows).unbind(dim=1), strict=True))
        return LossTerms(found.pop(""), found)


def _joined(totals: list[Tensor], parts: Sequence[Mapping[str, Tensor]]) -> LossTerms:
    """Return the terms of micro-batches as those of one batch; what one lacks is NaN there."""
    pairs = list(zip(totals, parts, strict=True))
    names = dict.fromkeys(name for own in parts for name in own)
    seen = {
        name: torch.cat([_or_absent(own.get(name), total) for total, own in pairs])
        for name in names
    }
    return LossTerms(torch.cat(totals), seen)


def _or_absent(part: Tensor | None, total: Tensor) -> Tensor:
    """Return a part of the loss, or one that no sample has."""
    return torch.full_like(total, torch.nan) if part is None else part


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

    One launch stands for the thousands of a step, which bound small networks, and large ones where
    the host is slow. What the loss reads of a batch lies at fixed addresses, and so do the
    gradients, which each replay overwrites. What several processes do together comes after it: sums
    beside matrix products hold those up nearly as long (of XL/2 on two H200s: 15 ms behind the
    graph, 13 during a backward pass that is launched).
    """

    def __init__(self, gradients: Gradients, model: nn.Module) -> None:
        self._gradients = gradients
        self._alone = gradients.world.size == 1
        self._parameters = list(model.parameters())
        self._stream: torch.cuda.Stream | None = None
        self._trained: list[bool] = []  # which of them, in the recording
        self._seen = 0
        self._held: _HeldBatch | None = None
        self._recorded: _Recorded | None = None

    def __call__(self, batch: Batch) -> Summary:
        """Run forward and backward passes."""
        self._follow_frozen()
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
        found = self._recorded.result
        return found if isinstance(found, Summary) else self._gradients.of_all(found)

    def _follow_frozen(self) -> None:
        """Begin anew where parameters were frozen, or are so no longer."""
        trained = [parameter.requires_grad for parameter in self._parameters]
        if trained != self._trained:
            self._trained, self._seen, self._recorded = trained, 0, None

    def _beside(self, batch: Batch) -> Summary:
        """Run on the stream of the recording: cuBLAS keeps 64 MB and more for each that it sees."""
        stream = self._stream = self._stream or torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            summary = self._gradients(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return summary

    def _record(self, batch: Batch) -> _Recorded:
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on meanwhile: they build kernels, and look after what was sent.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = (
                self._gradients(batch) if self._alone else self._gradients.own(batch, sending=False)
            )
        return _Recorded(graph, result, [parameter.grad for parameter in self._parameters])


class _Recorded(NamedTuple):
    """A graph and where its results lie after a replay."""

    graph: torch.cuda.CUDAGraph
    result: Summary | LossTerms
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
