"""Checks of what trains a network."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from framework.answers import NO_RATE, check_query, left_out
from framework.errors import UserError
from framework.evaluator import TRAINED, Evaluator
from framework.protocols import (
    Batch,
    Conditions,
    Evaluation,
    FoundWeights,
    LossTerms,
    Query,
    Times,
)
from framework.testing.building import BATCH, CLASSES, SHAPE
from framework.testing.findings import Findings, Hint, tensor

Given = Mapping[str, Any]
STEPS = (1e-3, 1e-5)  # of the difference quotient: for float32 inside, and for steep ones
MANY = 256
_KEPT = {"Tensor", "Parameter", "int", "float", "bool", "str", "NoneType"}


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


def optimizer(stepper: Any, given: Given) -> Findings:
    """Check that steps move the parameters and that a saved state goes on alike.

    The first may do without: SOAP's only looks at the gradient. Those that it has taken the
    gradient from (`requires_grad_(False)`) stay as they are.
    """
    named = [(name, p) for name, p in given["parameters"] if p.requires_grad]
    before = [p.detach().clone() for _, p in named]
    for _, parameter in named:
        parameter.grad = torch.ones_like(parameter)
    stepper.step()
    stepper.step()
    for (name, parameter), old in zip(named, before, strict=True):
        yield from tensor(f"the parameter {name} after two steps", parameter.detach(), old.shape)
        if torch.equal(parameter, old):
            yield Hint(f"two steps leave the parameter {name} as it was")
    if isinstance(stepper, FoundWeights):
        yield from _found_weights(stepper, [p for _, p in given["parameters"]])
    yield from _goes_on(stepper, [p for _, p in named])
    stepper.zero_grad()
    if any(p.grad is not None and p.grad.any() for _, p in named):
        yield "zero_grad leaves gradients"
    if any("lr" not in group for group in stepper.param_groups):
        yield NO_RATE
    left = left_out(stepper, named)
    if left:
        yield f"its groups leave out {len(left)} of {len(named)} parameters, such as {left[0]}"


def _goes_on(stepper: Any, parameters: Sequence[nn.Parameter]) -> Findings:
    """Check that its next step is the same after its state came back from a checkpoint."""
    kept, state = io.BytesIO(), stepper.state_dict()
    try:
        torch.save(state, kept)
        kept.seek(0)
        read = torch.load(kept, weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError) as error:
        odd = sorted({type(leaf).__name__ for leaf in _leaves(state)} - _KEPT)
        held = f"holds a {odd[0]}" if odd else f"is lost ({type(error).__name__})"
        yield f"its state {held}, which no checkpoint gives back: keep tensors, numbers and text"
        return
    before = [p.detach().clone() for p in parameters]
    on = _stepped(stepper, parameters)
    with torch.no_grad():
        for parameter, old in zip(parameters, before, strict=True):
            parameter.copy_(old)
    stepper.load_state_dict(read)
    again = _stepped(stepper, parameters)
    if not all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(on, again, strict=True)):
        yield (
            "after load_state_dict its next step is another: what it remembers has to be in its "
            "state_dict, or a run that was stopped goes on otherwise"
        )


def _stepped(stepper: Any, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Return the parameters after one more step, whose gradients and random numbers are fixed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        stepper.step()
    return [p.detach().clone() for p in parameters]


def _leaves(state: object) -> Iterator[object]:
    """Yield what lies in nested dictionaries, lists and tuples."""
    if isinstance(state, Mapping | list | tuple):
        for inner in state.values() if isinstance(state, Mapping) else state:
            yield from _leaves(inner)
    else:
        yield state


def _found_weights(stepper: FoundWeights, parameters: Sequence[nn.Parameter]) -> Findings:
    """Check weights like the parameters, which stay as they are."""
    before = [p.detach().clone() for p in parameters]
    found = stepper.found_weights()
    if len(found) != len(parameters):
        yield f"it has found {len(found)} weights of {len(parameters)} parameters"
        return
    for parameter, old, weight in zip(parameters, before, found, strict=True):
        yield from tensor("a weight found", weight, old.shape, old.dtype)
        if not torch.equal(parameter, old):
            yield "found_weights() changes the parameters"


def schedule(factor: Any, given: Given) -> Findings:
    """Check factors that are finite and not negative."""
    for step in range(1, 11):
        value = factor(step, 10)
        if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
            yield f"its factor at step {step} of 10 is {value!r}"


def weight_average(average: Any, given: Given) -> Findings:
    """Check decays in [0, 1]."""
    for step in (1, 2, 10, 1000, 10**6):
        value = average.decay(step)
        if not isinstance(value, Real) or not 0 <= float(value) <= 1:
            yield f"its decay after step {step} is {value!r}, not in [0, 1]"


CHECKS: dict[str, Callable[[Any, Given], Findings]] = {
    "time_sampler": time_sampler,
    "guidance": guidance,
    "flow_map": flow_map,
    "loss": loss,
    "optimizer": optimizer,
    "schedule": schedule,
    "weight_average": weight_average,
}
