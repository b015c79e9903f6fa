"""How networks, and what belongs to them, lie on the processes of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from framework.distribution.sums import GradientSums
from framework.passes import Passes

BuildOptimizer = Callable[..., torch.optim.Optimizer]


class Placement(Protocol):
    """Networks on processes, each of which sees its own samples of a batch."""

    def check(self, optimizer: BuildOptimizer, model: nn.Module) -> None:
        """Check that an optimizer can update parameters in their places.

        Raises:
            UserError: it cannot.
        """

    def place(self, network: nn.Module) -> None:
        """Put a network, which all processes hold alike, where it stays."""

    def load(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Overwrite a network's weights, with whole ones or with what `empty` made."""

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Overwrite an optimizer's state, with a whole one or with what `empty` made."""

    def empty(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Return room for this process's part of a tensor that several hold in parts."""

    def passes(self, passes: Passes) -> Passes:
        """Return passes that do the same with networks in their places."""

    def local(self, network: nn.Module) -> list[Tensor]:
        """Return what this process holds of a network's parameters, without gradient."""

    def before_backward(self, last: bool) -> None:
        """Prepare for the backward pass of a micro-batch, the last one or not."""

    def reduce(self) -> None:
        """Have the gradients of all processes summed, after the last micro-batch."""

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the Euclidean norm (0-d) of the whole gradient."""

    def whole(self, *networks: nn.Module) -> AbstractContextManager[None]:
        """Let this process run the networks on its own, plainly, for as long as that lasts."""


class Replicated:
    """Every process holds every network, one alone too; gradients are summed once a step ('ddp').

    DistributedDataParallel wants one forward pass, through its wrapper, for each backward pass;
    here a network runs block by block, several times for one loss, with tangents beside the values.
    So gradients are sent by hooks on the parameters themselves, during the last backward pass: XL/2
    moves 2.7 GB a step, some 10 ms at what NVLink is sold for, beside a step of 235 ms for 32
    images. See `GradientSums`.
    """

    def __init__(self, processes: int) -> None:
        self._sums = GradientSums() if processes > 1 else None

    def check(self, optimizer: BuildOptimizer, model: nn.Module) -> None:
        """Do nothing: parameters are whole."""

    def place(self, network: nn.Module) -> None:
        """Remember whose gradients to sum: all processes hold the network already."""
        parameters = list(network.parameters())
        if self._sums is not None and any(p.requires_grad for p in parameters):  # no average
            self._sums.follow(parameters)

    def load(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Overwrite a network's weights."""
        network.load_state_dict(weights)

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Overwrite an optimizer's state."""
        optimizer.load_state_dict(state)

    def empty(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Return room for the whole tensor, on the CPU."""
        return torch.empty(shape, dtype=dtype)

    def passes(self, passes: Passes) -> Passes:
        """Return the passes themselves."""
        return passes

    def local(self, network: nn.Module) -> list[Tensor]:
        """Return all parameters of a network."""
        return list(network.parameters())

    def before_backward(self, last: bool) -> None:
        """Let gradients leave, as they are completed, if this is the last backward pass."""
        if self._sums is not None:
            self._sums.begin(last)

    def reduce(self) -> None:
        """Send the gradients that have not left, and wait for all sums."""
        if self._sums is not None:
            self._sums.finish()

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm, the same in every process."""
        return nn.utils.get_total_norm(gradients)

    def whole(self, *networks: nn.Module) -> AbstractContextManager[None]:
        """Do nothing: every network is whole."""
        return nullcontext()


def local_part(x: Tensor) -> Tensor:
    """Return what this process holds of a tensor that may lie in shards."""
    part: Tensor = x.to_local() if hasattr(x, "to_local") else x
    return part
