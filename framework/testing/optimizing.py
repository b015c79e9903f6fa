"""Checks of what moves the weights: optimizers, their schedules, and averages."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from framework.answers import NO_RATE, left_out
from framework.protocols import FoundWeights
from framework.testing.findings import Findings, Given, Hint, tensor

_KEPT = {"Tensor", "Parameter", "int", "float", "bool", "str", "NoneType"}


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
    "optimizer": optimizer,
    "schedule": schedule,
    "weight_average": weight_average,
}
