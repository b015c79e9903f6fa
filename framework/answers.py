"""What components answer, looked at where they are called: what is wrong names its component.

Types and shapes alone, so that a step pays nothing for it; `framework.testing` looks at values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import SupportsFloat, cast

import torch
from torch import Tensor

from framework.errors import UserError
from framework.protocols import Metric, Query, Score, Times, TimeSampler
from framework.protocols.learning import NamedParameters
from framework.registry import name_of
from framework.results.names import plain_metric

DIRECTIONS = ("lower", "higher")
NO_RATE = "its groups have no learning rate 'lr', which the schedule sets: call it so in `defaults`"


def times_of(sample: TimeSampler, u: Tensor) -> Times:
    """Return the times that a sampler makes of uniforms (B, 4), (B,) each.

    Raises:
        UserError: it returns something else.
    """
    times = sample(u)
    if not isinstance(times, Times):
        raise UserError(f"{name_of(sample)}: it returns a {type(times).__name__}, not Times")
    for name, value in vars(times).items():
        if not isinstance(value, Tensor) or value.shape != u.shape[:1]:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UserError(f"{name_of(sample)}: {name} is {found}, not a tensor {(len(u),)}")
    return times


def check_query(query: Query, shape: Sequence[int], empty_class: int) -> None:
    """Look at what a loss asks for, of examples of a shape.

    Raises:
        UserError: the network would fail at it, or broadcast it.
    """
    batch = len(query.x)
    wanted: dict[str, tuple[Tensor, Sequence[int], torch.dtype]] = {
        "x": (query.x, (batch, *shape), torch.float32),
        **{name: (getattr(query, name), (batch,), torch.float32) for name in ("t", "s", "w")},
        "c": (query.c, (batch,), torch.int64),
    }
    moved = vars(query.tangent) if query.tangent is not None else {}
    for name in ("x", "t", "s"):
        if moved.get(name) is not None:
            wanted[f"the tangent of {name}"] = (moved[name], *wanted[name][1:])
    for name, (value, size, dtype) in wanted.items():
        if value.shape != torch.Size(size):
            found, right = tuple(value.shape), tuple(size)
            raise UserError(f"it asks for {name} of shape {found}, which has to be {right}")
        if value.dtype != dtype:
            raise UserError(f"it asks for {name} in {value.dtype}, which has to be {dtype}")
    if ((query.c < 0) | (query.c > empty_class)).any():
        raise UserError(f"it asks for classes c outside of 0 to {empty_class}, the empty class")


def check_samples(metric: Metric, samples: int) -> None:
    """Refuse fewer samples than a metric says that it needs.

    Raises:
        UserError: they are fewer.
    """
    least = getattr(metric, "least_samples", 1)
    if samples < least:
        raise UserError(
            f"{name_of(metric)} needs {least} samples, and evaluation.samples is {samples}: "
            "raise it"
        )


def optimizer_of(make: Callable[..., object], parameters: NamedParameters) -> torch.optim.Optimizer:
    """Return the optimizer that a factory makes for parameters, every one of which it moves.

    Those without `requires_grad` may be left out. Its groups have a learning rate, 'lr'.

    Raises:
        UserError: it makes something else, leaves some out, or its groups have no rate.
    """
    found = make(parameters)
    if not isinstance(found, torch.optim.Optimizer):
        kind = type(found).__name__
        raise UserError(f"{name_of(make)}: it returns a {kind}, not a torch.optim.Optimizer")
    if any("lr" not in group for group in found.param_groups):
        raise UserError(f"{name_of(make)}: {NO_RATE}")
    left = left_out(found, parameters)
    if left:
        raise UserError(
            f"{name_of(make)}: its groups leave out {len(left)} of {len(parameters)} parameters, "
            f"such as {left[0]}: take all, or call requires_grad_(False) on what is not to move"
        )
    return found


def left_out(optimizer: torch.optim.Optimizer, parameters: NamedParameters) -> list[str]:
    """Return the names of parameters with gradients that an optimizer does not hold.

    It may hold others in their place, such as copies in another precision or all of them in one
    row: what counts is how many numbers it holds.
    """
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    wanted = [(name, p) for name, p in parameters if p.requires_grad]
    if sum(p.numel() for p in held) >= sum(p.numel() for _, p in wanted):
        return []
    known = {id(parameter) for parameter in held}
    return [name for name, parameter in wanted if id(parameter) not in known]


def scores_of(metric: str, found: object) -> list[Score]:
    """Return the scores that a metric, called by its name, has returned; their values are floats.

    Raises:
        UserError: they are something else.
    """
    problem = next(wrong_scores(found), None)
    if problem is not None:
        raise UserError(f"{metric}: {problem}")
    return [replace(score, value=float(score.value)) for score in cast("list[Score]", found)]


def twice(one: str, other: str, score: str) -> str:
    """Say that two metrics, called by their names, return scores that cannot be told apart."""
    return (
        f"evaluation.metrics: {one} and {other} both return the score '{score}': remove one, or "
        f"add to the name what its value depends on, as '{plain_metric(score)}@SETTING'"
    )


def wrong_scores(found: object) -> Iterator[str]:
    """Yield what is wrong with what a metric has returned."""
    if not isinstance(found, list | tuple):
        yield f"it returns a {type(found).__name__}, not a list of scores"
        return
    for score in found:
        if not isinstance(score, Score):
            yield f"it returns a list with a {type(score).__name__}, not of scores"
            continue
        if not isinstance(score.name, str) or not score.name:
            yield f"it returns a score with the name {score.name!r}"
        if not _is_number(score.value):
            yield f"the score '{score.name}' has a {type(score.value).__name__} for its value"
        if score.direction not in DIRECTIONS:
            yield (
                f"the score '{score.name}' has the direction {score.direction!r}: give "
                f"{' or '.join(map(repr, DIRECTIONS))}"
            )


def _is_number(value: object) -> bool:
    """Return whether a value is one number: 0-d tensors and NumPy's are as good."""
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, SupportsFloat)
