"""Protocols of what trains a network: losses, what they draw, and what moves the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

NamedParameters = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class Times:
    """Times of one batch, each (B,) float32 with 1 >= t >= s >= 0.

    `s_velocity` is the time s' at which the flow-matching term is evaluated: s unless the sampler
    draws its own (gap*).
    """

    t: Tensor
    s: Tensor
    s_velocity: Tensor


class TimeSampler(Protocol):
    """Draws the start and end times of jumps as a map of uniform numbers."""

    def __call__(self, u: Tensor) -> Times:
        """Map uniforms (B, 4) in (0, 1), float64, to times.

        Columns: start (or gap), end, s', coin. Arms of a grid share the uniforms of a seed, so two
        samplers that read a column alike draw alike.
        """


@dataclass(frozen=True)
class Conditions:
    """Classes c (B,) int64, the empty class included, and guidance weights w (B,) float32."""

    c: Tensor
    w: Tensor


class Guidance(Protocol):
    """Draws guidance weights and drops labels. `weight` is the one to sample with, if any."""

    weight: float | None

    def __call__(self, labels: Tensor, empty_class: int, u: Tensor) -> Conditions:
        """Return the conditions of labels (B,) from uniforms (B, 2) float64.

        Column 0 draws the weight, column 1 decides whether the label is dropped (c empty, w = 1).
        """


class FlowMap(Protocol):
    """The scale gamma of the displacement f(x, t, s) = gamma(t, s, w) F(x, t, s) (App. A.1)."""

    def gamma(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return gamma (B,), zero where t == s."""

    def dgamma_ds(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        """Return the derivative of gamma by s, (B,). At s = t it scales the velocity."""


@dataclass(frozen=True)
class Tangent:
    """A direction in which the network is differentiated; None stands for zero.

    With `detach` no gradient flows through the derivative.
    """

    x: Tensor | None = None
    t: Tensor | None = None
    s: Tensor | None = None
    detach: bool = False


@dataclass(frozen=True)
class Query:
    """One evaluation of the network that a loss asks for.

    `weights` names the trained weights ("trained") or an average that the loss declared; only the
    trained ones carry gradient, and only with `gradient`.
    """

    x: Tensor
    t: Tensor
    s: Tensor
    c: Tensor
    w: Tensor
    weights: str = "trained"
    tangent: Tangent | None = None
    gradient: bool = True


@dataclass(frozen=True)
class Evaluation:
    """F (B, ...) and, if a tangent was given, its directional derivative dF, both float32."""

    F: Tensor
    dF: Tensor | None = None

    @property
    def derivative(self) -> Tensor:
        """Return dF.

        Raises:
            ValueError: the query had no tangent.
        """
        if self.dF is None:
            raise ValueError("this evaluation was asked for without a tangent")
        return self.dF


Evaluate = Callable[..., tuple[Evaluation, ...]]
"""`evaluate(*queries: Query) -> tuple[Evaluation, ...]`: queries of one call may share passes."""


@dataclass(frozen=True)
class Batch:
    """What a loss sees of one step.

    x0 is data (B, ...), noise is x1 of that shape, labels (B,) int64. `uniform(stream, width)`
    returns this batch's uniforms (B, width) in float64: same stream, seed, step and sample, same
    numbers.
    """

    x0: Tensor
    noise: Tensor
    labels: Tensor
    empty_class: int
    uniform: Callable[[str, int], Tensor]


@dataclass(frozen=True)
class LossTerms:
    """Per-sample loss (B,) whose mean over the global batch is minimised, and its parts.

    Parts go to the log: (B,) each, without gradient, NaN for samples that have no such part.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Loss(Protocol):
    """A training objective. It asks for evaluations and never differentiates or averages itself."""

    flow_map: FlowMap
    guidance: Guidance

    def averages(self) -> Mapping[str, WeightAverage]:
        """Return the averages of the weights that the loss evaluates, by name."""

    def __call__(self, batch: Batch, evaluate: Evaluate) -> LossTerms:
        """Return the loss terms of one (micro-)batch."""


@runtime_checkable
class FoundWeights(Protocol):
    """An optimizer that takes gradients elsewhere than at the weights that it has found.

    Schedule-free ones do: while it trains, the network holds the point of the next gradient.
    Evaluation and averages see what is found.
    """

    def found_weights(self) -> list[Tensor]:
        """Return the weights found, for each parameter in the order given; changes nothing."""


class Schedule(Protocol):
    """The learning rate along training, as a factor of the optimizer's own."""

    def __call__(self, step: int, steps: int) -> float:
        """Return the factor for update number `step` (from 1) of `steps`."""


class WeightAverage(Protocol):
    """A running average of the weights: average <- decay * average + (1 - decay) * weights."""

    def decay(self, step: int) -> float:
        """Return the decay in [0, 1] to use after update number `step` (from 1)."""
