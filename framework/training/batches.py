"""The batches of a run: which examples, which noise, which uniforms at which step."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from framework.distribution import ALONE, World
from framework.protocols import Batch, Dataset, Examples
from framework.streams import Streams

READERS = 4  # threads, each of which reads the examples of one of the next steps


class Batches:
    """Makes the batch of any step: epochs of the whole dataset, each in an order of its own.

    On a GPU the examples of the next steps are read, a thread each, while this one runs, and every
    copy is from pinned memory, so that the host never waits for the device. Noise is drawn there.
    One process of several makes its own part of each batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        streams: Streams,
        batch_size: int,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        self._dataset = dataset
        self._streams = streams
        self._batch_size = batch_size
        self._samples = world.share(batch_size)
        self._device = device
        # Several threads may ask for it at once; that one of them then makes it twice is no harm.
        self._order = lru_cache(maxsize=2)(self._order_of)
        self._readers = ThreadPoolExecutor(READERS, "batches") if device.type == "cuda" else None
        self._ahead: dict[int, Future[Examples]] = {}

    def at(self, step: int) -> Batch:
        """Return the batch of update number `step` (from 1)."""
        samples = self._samples
        examples = self._examples(step)

        def uniform(stream: str, width: int) -> Tensor:
            return self._moved(self._streams.uniform(stream, step, samples, width))

        return Batch(
            x0=self._moved(examples.x),
            noise=self._noise(step),
            labels=self._moved(examples.labels),
            empty_class=self._dataset.num_classes,
            uniform=uniform,
        )

    def _noise(self, step: int) -> Tensor:
        shape, total = self._dataset.shape, self._batch_size
        return self._streams.normal("noise", step, self._samples, shape, self._device, total)

    def _examples(self, step: int) -> Examples:
        """Return the examples of a step, and start to read those of the next ones."""
        if self._readers is None:
            return self._read(step)
        wanted = range(step, step + READERS + 1)
        self._ahead = {n: self._ahead.get(n) or self._readers.submit(self._read, n) for n in wanted}
        return self._ahead.pop(step).result()

    def _read(self, step: int) -> Examples:
        drawn = self._streams.uniform("data", step, self._samples, 2)
        return self._dataset.examples(self._indices(step), drawn)

    def _moved(self, x: Tensor) -> Tensor:
        """Return x on the device, without waiting for it."""
        if self._device.type != "cuda" or x.is_cuda:
            return x.to(self._device)
        return x.pin_memory().to(self._device, non_blocking=True)

    def _indices(self, step: int) -> Tensor:
        """Return the examples of this process at a step, (B,) int64."""
        length = len(self._dataset)
        first = (step - 1) * self._batch_size
        position = torch.arange(first + self._samples.start, first + self._samples.stop)
        epochs = position // length
        wanted = range(int(epochs[0]), int(epochs[-1]) + 1)
        return torch.cat([self._order(e)[position[epochs == e] % length] for e in wanted])

    def _order_of(self, epoch: int) -> Tensor:
        """Return all examples in the order of an epoch, (len(dataset),) int64."""
        return self._streams.permutation("epoch", epoch, len(self._dataset))
