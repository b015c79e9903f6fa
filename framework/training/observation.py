"""What a step looks like from within: its loss terms, the norm of its tangent, its drawn times.

Everything stays on the device as a number a sample, so that micro-batches concatenate and nothing
waits for the device.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from framework.protocols import Batch, Evaluate, Evaluation, Loss, LossTerms, Query
from framework.training.recorder import PART

JVP_NORM = "jvp_norm"
TIMES = "times/"


def observed_terms(loss: Loss, batch: Batch, evaluate: Evaluate) -> LossTerms:
    """Return a loss's terms with what was seen of its evaluations among the parts, (B,) each.

    Its own parts become `loss/NAME`. `times/t` and `times/s` are those of the first query that has
    a tangent, or of the first one where none has; `jvp_norm` is the Euclidean norm of its dF, as
    the evaluator computed it, over all elements of a sample.
    """
    seen = _Seen(evaluate)
    terms = loss(batch, seen)
    own = {f"{PART}{name}": part for name, part in terms.parts.items()}
    return replace(terms, parts=own | seen.parts())


def reduced(terms: LossTerms) -> dict[str, Tensor]:
    """Return the parts of a batch as 0-d tensors: means, and `times/*` as mean, min and max.

    A part of the loss is NaN for samples that have no such part, which do not count; where a
    sample's loss is not finite, its NaN counts. So does that of a tangent, which every sample has.
    """
    own = {name: part for name, part in terms.parts.items() if name.startswith(PART)}
    times = {name: part for name, part in terms.parts.items() if name.startswith(TIMES)}
    values: dict[str, Tensor] = {}
    if own:  # stacked: a step has few microseconds to spare for this
        means = _means(torch.stack(list(own.values())), terms.total.detach())
        values |= zip(own, means.unbind(), strict=True)
    if JVP_NORM in terms.parts:
        values[JVP_NORM] = terms.parts[JVP_NORM].mean()
    if times:
        stacked = torch.stack(list(times.values()))
        found = (stacked.mean(dim=1), *stacked.aminmax(dim=1))
        for kind, each in zip(("mean", "min", "max"), found, strict=True):
            values |= zip((f"{name}_{kind}" for name in times), each.unbind(), strict=True)
    return values


def _means(parts: Tensor, total: Tensor) -> Tensor:
    """Return the means (P,) of parts (P, B) over the samples that have them; NaN over none."""
    absent = parts.isnan() & total.isfinite()
    return parts.masked_fill(absent, 0.0).sum(dim=1) / (~absent).sum(dim=1)


class _Seen:
    """Passes queries on and keeps the one that tells most about the step."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._query: Query | None = None
        self._dF: Tensor | None = None

    def __call__(self, *queries: Query) -> tuple[Evaluation, ...]:
        found = self._evaluate(*queries)
        for query, evaluation in zip(queries, found, strict=True):
            if self._query is None or (self._dF is None and evaluation.dF is not None):
                self._query, self._dF = query, evaluation.dF
        return found

    def parts(self) -> dict[str, Tensor]:
        """Return times and tangent norms, (B,) each, without gradient."""
        if self._query is None:
            return {}
        times = {"times/t": self._query.t.detach(), "times/s": self._query.s.detach()}
        if self._dF is None:
            return times
        return {JVP_NORM: self._dF.detach().flatten(1).norm(dim=1), **times}
