"""A step's forward and backward passes, replayed from CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.protocols import Batch, LossTerms
from framework.training.gradients import Gradients, Summary, joined, micro_batches

WARM_UP = 3  # steps before a capture, so that kernels are compiled and libraries have started

_Result = TypeVar("_Result", Summary, LossTerms)


class GraphedGradients:
    """Replays `Gradients` from CUDA graphs, recorded after a few steps.

    One launch stands for the thousands of a step, which bound small networks, and large ones where
    the host is slow. What the loss reads of a batch lies at fixed addresses, and so do the
    gradients. A micro-batch is recorded twice: the first of a step writes the gradients, which the
    others add to. What several processes do together comes after it: sums beside matrix products
    hold those up nearly as long (of XL/2 on two H200s: 15 ms behind the graph, 13 during a backward
    pass that is launched).
    """

    def __init__(self, gradients: Gradients, model: nn.Module) -> None:
        self._gradients = gradients
        self._parameters = list(model.parameters())
        self._stream: torch.cuda.Stream | None = None
        self._trained: list[bool] = []  # which of them, in the recording
        self._seen = 0
        self._held: _HeldBatch | None = None
        self._recorded: list[_Recorded[Any]] = []

    def __call__(self, batch: Batch) -> Summary:
        """Run forward and backward passes."""
        self._follow_frozen()
        launched = self._seen < WARM_UP
        self._seen += launched
        run = self._launched if launched else self._replayed
        if self._gradients.pieces == self._gradients.world.size == 1:
            return run(batch, self._gradients)
        pieces = enumerate(micro_batches(batch, self._gradients.pieces))
        terms = [_copied(run(each, self._gradients.piece, number > 0)) for number, each in pieces]
        return self._gradients.of_all(joined(terms))

    def _follow_frozen(self) -> None:
        """Begin anew where parameters were frozen, or are so no longer."""
        trained = [parameter.requires_grad for parameter in self._parameters]
        if trained != self._trained:
            self._trained, self._seen, self._recorded = trained, 0, []

    def _held_with(self, piece: Batch) -> Batch:
        """Return a batch at fixed addresses, with a micro-batch's contents."""
        if self._held is None:
            self._held = _HeldBatch(piece)
        else:
            self._held.fill(piece)
        return self._held.batch

    def _launched(self, piece: Batch, run: Callable[[Batch], _Result], _: bool = False) -> _Result:
        """Run on the stream of the recording: cuBLAS keeps 64 MB and more for each that it sees."""
        stream = self._stream = self._stream or torch.cuda.Stream()
        held = self._held_with(piece)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = run(held)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def _replayed(
        self, piece: Batch, run: Callable[[Batch], _Result], added: bool = False
    ) -> _Result:
        """Replay the recording whose gradients are the first ones, or are added to those."""
        held = self._held_with(piece)
        if len(self._recorded) == int(added):
            self._recorded.append(self._record(held, run))
            self._check_added()
        recorded = self._recorded[added]
        recorded.graph.replay()
        for parameter, gradient in zip(self._parameters, recorded.found, strict=True):
            parameter.grad = gradient
        result: _Result = recorded.result
        return result

    def _record(self, piece: Batch, run: Callable[[Batch], _Result]) -> _Recorded[_Result]:
        graph = torch.cuda.CUDAGraph()
        pool = self._recorded[0].graph.pool() if self._recorded else None
        # Other threads may go on meanwhile: they build kernels, and look after what was sent.
        with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
            result = run(piece)
        return _Recorded(graph, result, [parameter.grad for parameter in self._parameters])

    def _check_added(self) -> None:
        """Refuse gradients that the first micro-batch does not write, and the others would add to.

        Raises:
            UserError: there are such.
        """
        first, last = self._recorded[0].found, self._recorded[-1].found
        if any(a is not b for a, b in zip(first, last, strict=True)):
            raise UserError(
                "train.cuda_graphs: micro-batches of one step reach different parameters: set "
                "train.cuda_graphs = False"
            )


class _Recorded(NamedTuple, Generic[_Result]):
    """A graph and where its results lie after a replay."""

    graph: torch.cuda.CUDAGraph
    result: _Result
    found: list[Tensor | None]


def _copied(terms: LossTerms) -> LossTerms:
    """Return terms that the next replay does not overwrite."""
    return LossTerms(terms.total.clone(), {name: x.clone() for name, x in terms.parts.items()})


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
