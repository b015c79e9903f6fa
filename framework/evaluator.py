"""Answers a loss's queries: shares passes between those that can go in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


_Members = Mapping[_Pass, Sequence[Query]]


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
        keys = [_pass_of(query) for query in queries]
        members = {key: [q for q, k in zip(queries, keys, strict=True) if k == key] for key in keys}
        found = {key: iter(evaluations) for key, evaluations in self._passed(members)}
        return tuple(next(found[key]) for key in keys)

    def _passed(self, members: _Members) -> Iterator[tuple[_Pass, list[Evaluation]]]:
        """Evaluate the members of each pass, those of a pair of passes together."""
        left = dict(members)
        pair = _pair_of(members)
        if pair is not None:
            yield from self._run_pair(*((key, left.pop(key)) for key in pair))
        for key, queries in left.items():
            yield key, self._run(key, queries)

    def _run(self, key: _Pass, members: Sequence[Query]) -> list[Evaluation]:
        """Send the members through the network as one batch, and split what comes back."""
        network, inputs = self._networks[key.weights], _joined_inputs(members)
        with self._pass(key, key.section):
            if not key.moving:
                return _split(members, self._passes.plain(network, inputs))
            F, dF = self._passes.with_tangent(network, inputs, _joined_tangent(members, key))
        return _split(members, F, dF)

    def _run_pair(
        self, first: tuple[_Pass, Sequence[Query]], second: tuple[_Pass, Sequence[Query]]
    ) -> Iterator[tuple[_Pass, list[Evaluation]]]:
        """Send two passes through the network side by side, of which the first has a tangent."""
        (key, members), (plain_key, plain) = first, second
        inputs, others = _joined_inputs(members), _joined_inputs(plain)
        with self._pass(key, "jvp and forward"):
            F, dF, G = self._passes.pair(
                self._networks[key.weights], inputs, _joined_tangent(members, key), others
            )
        yield key, _split(members, F, dF)
        yield plain_key, _split(plain, G)

    @contextmanager
    def _pass(self, key: _Pass, part: str) -> Iterator[None]:
        with section(part), torch.set_grad_enabled(key.gradient), self._autocast():
            yield


def _pair_of(members: _Members) -> tuple[_Pass, _Pass] | None:
    """Return a pass with a tangent and a plain one, both with gradient, if there are such."""
    moving = [key for key in members if key.gradient and key.moving]
    plain = [key for key in members if key.gradient and not key.moving]
    return (moving[0], plain[0]) if moving and plain else None


def _split(members: Sequence[Query], F: Tensor, dF: Tensor | None = None) -> list[Evaluation]:
    """Return each member's rows, in the precision of its x and not in autocast's."""
    dtype, sizes = members[0].x.dtype, [len(member.x) for member in members]
    parts = F.to(dtype).split(sizes)
    if dF is None:
        return [Evaluation(part) for part in parts]
    return [Evaluation(*pair) for pair in zip(parts, dF.to(dtype).split(sizes), strict=True)]


def _pass_of(query: Query) -> _Pass:
    tangent = query.tangent
    moving = tuple(name for name in MOVABLE if tangent and getattr(tangent, name) is not None)
    gradient = query.weights == TRAINED and query.gradient and torch.is_grad_enabled()
    return _Pass(query.weights, gradient, moving, gradient and bool(tangent and tangent.detach))


def _joined_inputs(members: Sequence[Query]) -> Inputs:
    return Inputs(*(_joined(members, name) for name in ("x", "t", "s", "c", "w")))


def _joined(members: Sequence[Query | Tangent], name: str) -> Tensor:
    parts = [getattr(member, name) for member in members]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _joined_tangent(members: Sequence[Query], key: _Pass) -> Tangent:
    tangents = [member.tangent for member in members if member.tangent]
    moving = {name: _joined(tangents, name) for name in key.moving}
    return Tangent(**moving, detach=key.detach)
