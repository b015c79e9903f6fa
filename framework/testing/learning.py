"""Checks of what a network is trained on: losses, and what they draw and ask for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from framework.answers import check_query
from framework.errors import UserError
from framework.evaluator import TRAINED, Evaluator
from framework.protocols import (
    Batch,
    Conditions,
    Evaluation,
    LossTerms,
    Query,
    Times,
)
from framework.testing.building import BATCH, CLASSES, SHAPE
from framework.testing.findings import Findings, Given, Hint, tensor

STEPS = (1e-3, 1e-5)  # of the difference quotient: for float32 inside, and for steep ones
MANY = 256


class _Network(nn.Module):
    """F = a x + b (t - s) + c w, the smallest network that every query moves."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(0.2))

    def forward(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return F, shaped like x."""
        ones = [-1] + [1] * (x.dim() - 1)
        return self.a * x + self.b * (t - s).view(ones) + 0.1 * w.view(ones)


def _uniform(stream: str, width: int, count: int = BATCH) -> Tensor:
    generator = torch.Generator().manual_seed(len(stream))
    return torch.rand(count, width, generator=generator, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)


def time_sampler(sample: Any, given: Given) -> Findings:
    """Check 1 >= t >= s >= 0 in float32, a map of the uniforms."""
    u = _uniform("times", 4, MANY)
    times = sample(u)
    if not isinstance(times, Times):
        yield f"it returns a {type(times).__name__} instead of Times"
        return
    for name, value in vars(times).items():
        yield from tensor(name, value, (MANY,), torch.float32)
        if ((value < 0) | (value > 1)).any():
            yield f"{name} leaves [0, 1]"
    if (times.t < times.s).any():
        yield "some t are smaller than their s"
    again = sample(u)
    if not all(torch.equal(value, getattr(again, name)) for name, value in vars(times).items()):
        yield "the same uniforms give other times: it draws numbers of its own"


def guidance(draw: Any, given: Given) -> Findings:
    """Check classes and weights, with w = 1 wherever the label is dropped."""
    labels = torch.arange(MANY) % CLASSES
    conditions = draw(labels, CLASSES, _uniform("guidance", 2, MANY))
    if not isinstance(conditions, Conditions):
        yield f"it returns a {type(conditions).__name__} instead of Conditions"
        return
    yield from tensor("c", conditions.c, (MANY,), torch.int64)
    yield from tensor("w", conditions.w, (MANY,), torch.float32)
    dropped = conditions.c == CLASSES
    if (conditions.w[dropped] != 1).any():
        yield "some dropped labels have a weight other than 1"
    if not torch.equal(conditions.c[~dropped], labels[~dropped]):
        yield "some labels are changed to another class"


def flow_map(scale: Any, given: Given) -> Findings:
    """Check gamma = 0 at t = s, and dgamma_ds against a difference quotient."""
    t = torch.linspace(0.3, 0.95, BATCH, dtype=torch.float64)
    w = torch.linspace(1, 2, BATCH, dtype=torch.float64)
    for s in (t - 0.2, t - 0.01):
        yield from tensor("gamma", scale.gamma(t, s, w), (BATCH,))
        yield from tensor("dgamma_ds", scale.dgamma_ds(t, s, w), (BATCH,))
        derivative = scale.dgamma_ds(t, s, w)
        quotients = [
            (scale.gamma(t, s + step, w) - scale.gamma(t, s - step, w)) / (2 * step)
            for step in STEPS
        ]
        if not any(torch.allclose(derivative, q, rtol=2e-3, atol=2e-3) for q in quotients):
            yield "dgamma_ds is not the derivative of gamma by s"
    if scale.gamma(t, t, w).abs().max() > 1e-6:
        yield "gamma is not zero where t = s"


def loss(objective: Any, given: Given) -> Findings:
    """Check the loss of a tiny network: per sample, finite, with gradient; parts without."""
    names = objective.averages()
    if not isinstance(names, Mapping):
        yield f"averages() is a {type(names).__name__} instead of a mapping from names to averages"
        return
    try:
        terms, network, averages = _tried(objective, names)
    except UserError as error:
        yield str(error)
        return
    if not isinstance(terms, LossTerms):
        yield f"it returns a {type(terms).__name__} instead of LossTerms"
        return
    wrong = [*tensor("total", terms.total, (BATCH,)), *_parts(terms)]
    yield from wrong
    if not isinstance(terms.total, Tensor) or not terms.total.requires_grad:
        yield "total carries no gradient"
        return
    if not wrong and not torch.equal(_tried(objective, names)[0].total, terms.total):
        yield Hint("the same batch gives another loss: it draws numbers of its own")
    terms.total.mean().backward()
    if not _has_gradient(network):  # so few samples may all be left out
        more, network, _ = _tried(objective, names, MANY)
        more.total.mean().backward()
        if not _has_gradient(network):
            yield "no gradient reaches the trained weights"
    for average in averages.values():
        if any(p.grad is not None for p in average.parameters()):
            yield "gradient reaches an average of the weights"


_Tried = tuple[Any, nn.Module, Mapping[str, nn.Module]]


def _tried(objective: Any, names: Iterable[str], count: int = BATCH) -> _Tried:
    """Return what a loss makes of `count` samples, the network it asked, and its averages.

    Raises:
        UserError: it asks for what no network takes, or for an average that it did not declare.
    """
    network = _Network()
    averages = {name: copy.deepcopy(network) for name in names}
    evaluator = Evaluator(network, averages)

    def evaluate(*queries: Query) -> tuple[Evaluation, ...]:
        for query in queries:
            check_query(query, SHAPE, CLASSES)
            if query.weights not in (TRAINED, *averages):
                raise UserError(f"it asks for the average {query.weights!r} and declares none such")
        return evaluator(*queries)

    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, count, *SHAPE, generator=generator)
    labels = torch.arange(count) % CLASSES
    batch = Batch(x0, noise, labels, CLASSES, partial(_uniform, count=count))
    return objective(batch, evaluate), network, averages


def _parts(terms: LossTerms) -> Findings:
    parts: Mapping[str, object] = terms.parts
    for name, part in parts.items():
        if not isinstance(part, Tensor):
            yield f"the part '{name}' is a {type(part).__name__}, not a tensor"
            continue
        if tuple(part.shape) != (BATCH,):
            yield f"the part '{name}' has the shape {tuple(part.shape)} instead of {(BATCH,)}"
        if part.requires_grad:
            yield f"the part '{name}' carries gradient: detach it"


def _has_gradient(network: nn.Module) -> bool:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return any(bool(g.isfinite().all() and g.any()) for g in gradients)


CHECKS: dict[str, Callable[[Any, Given], Findings]] = {
    "time_sampler": time_sampler,
    "guidance": guidance,
    "flow_map": flow_map,
    "loss": loss,
}
