"""Checks that a constructor makes of its own arguments.

The framework checks a configuration's values by their annotations before anything is built; these
hold for values that come from Python, and for what only several values together can violate.
"""

from __future__ import annotations

import math

from torch import nn

from framework import UserError


def require(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless the condition holds."""
    if not condition:
        raise UserError(message)


def positive(name: str, value: float) -> float:
    """Return a value that is finite and above 0."""
    require(math.isfinite(value) and value > 0, f"{name} is {value}: it has to be above 0")
    return value


def finite(name: str, value: float) -> float:
    """Return a value that is neither infinite nor NaN."""
    require(math.isfinite(value), f"{name} is {value}: it has to be a finite number")
    return value


def at_least(name: str, value: float, least: float) -> float:
    """Return a finite value of at least `least`."""
    require(
        math.isfinite(value) and value >= least, f"{name} is {value}: it has to be at least {least}"
    )
    return value


def probability(name: str, value: float) -> float:
    """Return a value in [0, 1]."""
    require(0 <= value <= 1, f"{name} is {value}: it has to lie between 0 and 1")
    return value


def module(name: str, part: object) -> nn.Module:
    """Return a part of a network that is a `torch.nn.Module`, as every part has to be."""
    if not isinstance(part, nn.Module):
        raise UserError(f"{name} gives a {type(part).__name__}: it has to be a torch.nn.Module")
    return part
