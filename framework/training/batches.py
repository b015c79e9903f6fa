"""The batches of a run: which examples, which noise, which uniforms at which step."""

from __future__ import annotations

import torch
from torch import Tensor

from framework.protocols import Batch, Dataset
from framework.streams import Streams


class Batches:
    """Makes the batch of any step: epochs of the whole dataset, each in an order of its own."""

    def __init__(
        self, dataset: Dataset, streams: Streams, batch_size: int, device: torch.device
    ) -> None:
        self._dataset = dataset
        self._streams = streams
        self._batch_size = batch_size
        self._device = device
        self._orders: dict[int, Tensor] = {}

    def at(self, step: int) -> Batch:
        """Return the batch of update number `step` (from 1)."""
        samples = range(self._batch_size)
        drawn = self._streams.uniform("data", step, samples, 2)
        examples = self._dataset.examples(self._indices(step), drawn)

        def uniform(stream: str, width: int) -> Tensor:
            return self._streams.uniform(stream, step, samples, width).to(self._device)

        return Batch(
            x0=examples.x.to(self._device),
            noise=self._streams.normal("noise", step, samples, self._dataset.shape, self._device),
            labels=examples.labels.to(self._device),
            empty_class=self._dataset.num_classes,
            uniform=uniform,
        )

    def _indices(self, step: int) -> Tensor:
        """Return the examples of a step, (B,) int64."""
        length = len(self._dataset)
        first = (step - 1) * self._batch_size
        position = torch.arange(first, first + self._batch_size)
        epochs = position // length
        wanted = range(int(epochs[0]), int(epochs[-1]) + 1)
        self._orders = {
            epoch: self._orders[epoch]
            if epoch in self._orders
            else self._streams.permutation("epoch", epoch, length)
            for epoch in wanted
        }
        parts = [self._orders[e][position[epochs == e] % length] for e in wanted]
        return torch.cat(parts)
