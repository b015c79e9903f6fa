"""Running averages of the weights, each a frozen copy of the network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from framework.distribution.placement import Placement, Replicated
from framework.protocols import WeightAverage


class Averages:
    """Named averages that start as copies of the network and follow it at every update.

    Each is placed on the run's processes as it is made; the network itself may be placed after.
    """

    def __init__(
        self,
        model: nn.Module,
        kinds: Mapping[str, WeightAverage],
        placement: Placement | None = None,
    ) -> None:
        self._kinds = dict(kinds)
        self._placement = placement or Replicated(1)
        self.networks: dict[str, nn.Module] = {}
        for name in kinds:
            self.networks[name] = _frozen_copy(model)
            self._placement.place(self.networks[name])

    @torch.no_grad()
    def update(self, step: int, weights: Sequence[Tensor]) -> None:
        """Move each average towards the weights after update number `step` (from 1).

        They are this process's part of them, as `Placement.local` has it.
        """
        for name, kind in self._kinds.items():
            averaged = self._placement.local(self.networks[name])
            torch._foreach_lerp_(averaged, list(weights), 1.0 - kind.decay(step))

    def state_dict(self) -> dict[str, dict]:
        """Return the weights of every average."""
        return {name: network.state_dict() for name, network in self.networks.items()}

    def load_state_dict(self, state: Mapping[str, dict]) -> None:
        """Restore what `state_dict` returned."""
        for name, network in self.networks.items():
            self._placement.load(network, state[name])


def _frozen_copy(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).requires_grad_(False).eval()
