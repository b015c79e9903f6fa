"""Answers a loss's queries: shares passes between those that can go in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
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

    @property
    def section(self) -> str:
        """The part of a step that the pass belongs to."""
        return "jvp" if self.moving else "forward" if self.gradient else "target"


class Evaluator:
    """Runs queries on the trained network or on averages of its weights.

    Queries of one call that use the same weights, with or without gradient alike and moving the
    same inputs, are concatenated along the batch. A detached derivative is computed apart and
    without gradient, so that its graph is never kept.
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
        groups = [_tasks(query) for query in queries]
        results = iter(self._share([task for group in groups for task in group]))
        return tuple(_merged([next(results) for _ in group]) for group in groups)

    def _share(self, tasks: Sequence[Query]) -> list[Evaluation]:
        """Evaluate tasks in as few passes as they allow."""
        results: dict[int, Evaluation] = {}
        keys = [_pass_of(task) for task in tasks]
        for key in dict.fromkeys(keys):
            indices = [i for i, other in enumerate(keys) if other == key]
            evaluations = self._run(key, [tasks[i] for i in indices])
            results.update(zip(indices, evaluations, strict=True))
        return [results[i] for i in range(len(tasks))]

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


def _tasks(query: Query) -> list[Query]:
    """Return the query, or F with gradient and dF without when the derivative is detached."""
    if query.tangent is None or not query.tangent.detach:
        return [query]
    return [replace(query, tangent=None), replace(query, gradient=False)]


def _merged(results: Sequence[Evaluation]) -> Evaluation:
    """Undo `_tasks`."""
    return results[0] if len(results) == 1 else Evaluation(results[0].F, results[1].dF)


def _pass_of(task: Query) -> _Pass:
    moving = tuple(
        name for name in MOVABLE if task.tangent and getattr(task.tangent, name) is not None
    )
    trained = task.weights == TRAINED
    return _Pass(task.weights, trained and task.gradient and torch.is_grad_enabled(), moving)


def _joined(members: Sequence[Query | Tangent], name: str) -> Tensor:
    parts = [getattr(member, name) for member in members]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _joined_tangent(members: Sequence[Query], key: _Pass) -> Tangent:
    tangents = [member.tangent for member in members if member.tangent]
    moving = {name: _joined(tangents, name) for name in key.moving}
    return Tangent(x=moving.get("x"), t=moving.get("t"), s=moving.get("s"))
