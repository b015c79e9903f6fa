"""Draws samples from a trained network for scores and pictures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor, nn

from framework import flow
from framework.errors import UserError
from framework.passes import Inputs, Passes
from framework.protocols import Dataset, FlowMap, Sampler
from framework.streams import Streams
from framework.training.precision import autocast
from framework.training.settings import Train


class NetworkField:
    """A network as a flow: what `framework.protocols.Field` asks for.

    Computed in the network's float32; samplers may accumulate in float64. `evaluated` counts
    network evaluations, one for each sample.
    """

    def __init__(
        self,
        network: nn.Module,
        flow_map: FlowMap,
        passes: Passes,
        autocast: Callable[[], AbstractContextManager],
        empty_class: int,
    ) -> None:
        self.empty_class = empty_class
        self.evaluated = 0
        self._network = network
        self._flow_map = flow_map
        self._passes = passes
        self._autocast = autocast
        self._dtype = next(network.parameters()).dtype

    def displacement(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return f(x, t, s), shaped like x (B, ...), in x's dtype."""
        return flow.displacement(self._flow_map, self._output(x, t, s, c, w), t, s, w)

    def velocity(self, x: Tensor, t: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return u(x, t), shaped like x (B, ...), in x's dtype."""
        return flow.velocity(self._flow_map, self._output(x, t, t, c, w), t, w)

    def _output(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        self.evaluated += len(x)
        dtype = self._dtype
        inputs = Inputs(x.to(dtype), t.to(dtype), s.to(dtype), c, w.to(dtype))
        with self._autocast():
            return self._passes.plain(self._network, inputs).to(x.dtype)


def field_of(
    network: nn.Module, train: Train, device: torch.device, passes: Passes | None = None
) -> NetworkField:
    """Return a run's network, or an average of it, as the flow that its loss trains.

    It runs in the run's precision, by plain passes or by those of `compilation.sampling_passes`.
    """
    return NetworkField(
        network,
        train.loss.flow_map,
        passes or Passes(),
        partial(autocast, train.precision, device),
        train.dataset.num_classes,
    )


class Draws:
    """The latents and classes of evaluation: the same at every step and in every arm of a seed.

    Classes come in the training set's proportions, exactly.
    """

    def __init__(self, dataset: Dataset, streams: Streams, device: torch.device) -> None:
        self._shape = dataset.shape
        self._sorted_labels = dataset.labels().sort().values
        self._streams = streams
        self._device = device

    def block(self, index: int, size: int) -> tuple[Tensor, Tensor]:
        """Return latents (size, ...) and classes (size,) of the block of that index."""
        samples = range(index * size, (index + 1) * size)
        return self._latents("evaluation", samples), self._proportional(size)

    def pictures(self, count: int, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return latents (count, ...) and classes 0, 1, 2, ... in turn, for pictures."""
        classes = torch.arange(count, device=self._device) % num_classes
        return self._latents("pictures", range(count)), classes

    def _latents(self, stream: str, samples: range) -> Tensor:
        return self._streams.normal(stream, 0, samples, self._shape, self._device)

    def _proportional(self, size: int) -> Tensor:
        length = len(self._sorted_labels)
        position = (torch.arange(size) * length + length // 2) // size
        return self._sorted_labels[position.clamp_(max=length - 1)].to(self._device)


@torch.no_grad()
def draw(
    sampler: Sampler,
    field: NetworkField,
    latents: Tensor,
    classes: Tensor,
    weight: float,
    nfe: int | None,
    batch_size: int,
) -> Tensor:
    """Return samples like latents (M, ...) in float32, made `batch_size` at a time.

    Raises:
        UserError: the sampler cannot spend that many evaluations.
    """
    parts = []
    for z, c in zip(latents.split(batch_size), classes.split(batch_size), strict=True):
        w = torch.full((len(z),), weight, device=z.device)
        try:
            parts.append(sampler(field, z, c, w, nfe).float())
        except ValueError as error:  # what a sampler says of a number that it cannot spend
            raise UserError(f"evaluations a sample: {error}") from error
    return torch.cat(parts)
