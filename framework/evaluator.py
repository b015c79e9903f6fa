"""Answers a loss's queries: shares passes between those that can go in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from framework.passes import Inputs, Passes
from framework.protocols import Evaluation, Query, Tangent
from framework.sections import section

TRAINED = "trained"
MOVABLE = ("x", "t", "s")


class _Pass(NamedTuple):
    """What two queries must have in common to go through the network together."""

    weights: str
    gradient: bool
    moving: tuple[str, ...]  # the inputs with a tangent; empty for a plain pass
    detach: bool

    @property
    def section(self) -> str:
        """The part of a step that the pass belongs to."""
        return "jvp" if self.moving else "forward" if self.gradient else "target"


class Evaluator:
    """Runs queries on the trained network or on averages of its weights.

    Queries of one call that use the same weights, with or without gradient alike and moving the
    same inputs, are concatenated along the batch. Nothing is computed twice. In units of one plain
    pass over the batch, a backward pass being two and a tangent one (an attention's tangent two):
    TVM 11, of which jump and velocity 3, their backward 6 and the targets 2; with the derivative
    detached 9, the backward being 4; MeanFlow 4 and flow matching 3, both without guidance.
    """

    def __init__(
        self,
        model: nn.Module,
        averages: Mapping[str, nn.Module] | None = None,
        passes: Passes | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self._networks = {**(averages or {}), TRAINED: model}
        self._passes = passes or Passes()
        self._autocast = autocast

    def __call__(self, *queries: Query) -> tuple[Evaluation, ...]:
        """Return the evaluations of the queries, in their order.

        Raises:
            KeyError: a query names weights that the loss did not declare.
        """
        results: dict[int, Evaluation] = {}
        keys = [_pass_of(query) for query in queries]
        for key in dict.fromkeys(keys):
            indices = [i for i, other in enumerate(keys) if other == key]
            evaluations = self._run(key, [queries[i] for i in indices])
            results.update(zip(indices, evaluations, strict=True))
        return tuple(results[i] for i in range(len(queries)))

    def _run(self, key: _Pass, members: Sequence[Query]) -> list[Evaluation]:
        """Send the members through the network as one batch, and split what comes back."""
        network, sizes = self._networks[key.weights], [len(member.x) for member in members]
        inputs = Inputs(*(_joined(members, name) for name in ("x", "t", "s", "c", "w")))
        dtype = inputs.x.dtype  # the loss is computed in the inputs' precision, not in autocast's
        with section(key.section), torch.set_grad_enabled(key.gradient), self._autocast():
            if not key.moving:
                F = self._passes.plain(network, inputs).to(dtype)
                return [Evaluation(part) for part in F.split(sizes)]
            F, dF = self._passes.with_tangent(network, inputs, _joined_tangent(members, key))
        pairs = zip(F.to(dtype).split(sizes), dF.to(dtype).split(sizes), strict=True)
        return [Evaluation(part, d_part) for part, d_part in pairs]


def _pass_of(query: Query) -> _Pass:
    tangent = query.tangent
    moving = tuple(name for name in MOVABLE if tangent and getattr(tangent, name) is not None)
    gradient = query.weights == TRAINED and query.gradient and torch.is_grad_enabled()
    return _Pass(query.weights, gradient, moving, gradient and bool(tangent and tangent.detach))


def _joined(members: Sequence[Query | Tangent], name: str) -> Tensor:
    parts = [getattr(member, name) for member in members]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _joined_tangent(members: Sequence[Query], key: _Pass) -> Tangent:
    tangents = [member.tangent for member in members if member.tangent]
    moving = {name: _joined(tangents, name) for name in key.moving}
    return Tangent(**moving, detach=key.detach)
