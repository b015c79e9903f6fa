"""Theorem 1 with both sides in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from components.checks import positive, require
from components.datasets.known_flow import KnownFlow, known_flow
from components.metrics.transport import draws, exact_w2
from framework import register
from framework.protocols import Dataset, Field, Score
from framework.settings import Positive, PositiveInt

_LATTICE = 16  # points a side of the square on which the Lipschitz constant is looked for


@dataclass(frozen=True)
class BoundTerms:
    """The integrand at midpoints r of equal intervals of [0, 1], each (R,).

    `lipschitz` is L(r); `one_sided`, at most that, the top eigenvalue of minus the symmetric part
    of the Jacobian of u(., r), which bounds growth as well; `terminal` is
    E ||d/dr f(x_1, 1, r) - u(x_1 + f, r)||² and `velocity` E ||u(x_r, r) - u_exact(x_r, r)||².
    """

    lipschitz: Tensor
    one_sided: Tensor
    terminal: Tensor
    velocity: Tensor

    def bound(self, rate: Tensor, error: Tensor | None = None) -> float:
        """Return 2 t int_0^t exp(2 int_0^r rate) error dr for t = 1, by the midpoint rule.

        `rate` is `lipschitz` or `one_sided`; `error` is one of the two, or their sum.
        """
        growth = torch.exp(2 / len(rate) * (rate.cumsum(0) - rate / 2))
        return float(
            2 * (growth * (self.terminal + self.velocity if error is None else error)).mean()
        )


@register.metric("wasserstein_bound")
class WassersteinBound:
    """Both sides of Theorem 1 in the form that holds: W2² of samples by one jump, and its bound.

    W2² <= 2 t int_0^t exp(2 int_0^r L) E[terminal + velocity error] dr for t = 1, by Gronwall
    on norms and Cauchy-Schwarz. The theorem's printed weights drop factors and do not hold.

    Scores: `w2_squared`, `w2_squared_floor` (between two sets of examples of that size),
    `flow_error_squared` (between the two sides), `w2_squared_bound`, its parts `bound_terminal`
    and `bound_velocity`, each with its weight, `lipschitz_integral`, and
    `w2_squared_bound_one_sided`, where L is replaced by the one-sided constant of the flow
    backwards: the same proof, and tighter. L(r) is the largest
    stretch of u(., r) found at end points of jumps, at exact ones, half-way and on a lattice
    around them: an estimate from below.

    Args:
        dataset: of points whose flow is known, without labels.
        nodes: intervals of the integral.
        points: samples behind each expectation.
        reach: half the side of the lattice around the origin.
    """

    score_names = (
        *("w2_squared", "w2_squared_floor", "flow_error_squared", "w2_squared_bound"),
        *("w2_squared_bound_one_sided", "lipschitz_integral", "bound_terminal", "bound_velocity"),
    )

    def __init__(
        self,
        dataset: Dataset,
        nodes: PositiveInt = 48,
        points: PositiveInt = 256,
        reach: Positive = 3.0,
    ) -> None:
        self._dataset = dataset
        self._flow: KnownFlow = known_flow("wasserstein_bound", dataset)
        require(
            dataset.num_classes == 1,
            f"metrics.wasserstein_bound takes unlabelled data, and {dataset.name} has "
            f"{dataset.num_classes} classes: set its labelled = False",
        )
        self._nodes, self._points = nodes, points
        side = torch.linspace(-positive("reach", reach), reach, _LATTICE)
        self._lattice = torch.cartesian_prod(*[side] * dataset.shape[0]).reshape(-1, *dataset.shape)

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return nothing: the bound is about the flow."""
        return []

    def field_scores(self, field: Field, noise: Tensor, labels: Tensor, w: Tensor) -> list[Score]:
        """Return both sides for jumps from noise (M, C) at time 1 to time 0."""
        one, zero = torch.ones_like(w), torch.zeros_like(w)
        with torch.no_grad():
            landed = noise + field.displacement(noise, one, zero, labels, w)
        exact = self._flow.flow(noise.cpu(), one.cpu(), zero.cpu(), labels.cpu())
        reference, other = (draws(self._dataset, len(noise), stream) for stream in (0, 1))
        terms = self.terms(field, noise[: self._points], float(w[0]))
        values = {
            "w2_squared": exact_w2(landed, reference) ** 2,
            "w2_squared_floor": exact_w2(other, reference) ** 2,
            "flow_error_squared": float(_square(landed.cpu().double() - exact)),
            "w2_squared_bound": terms.bound(terms.lipschitz),
            "w2_squared_bound_one_sided": terms.bound(terms.one_sided),
            "lipschitz_integral": float(terms.lipschitz.mean()),
            "bound_terminal": terms.bound(terms.lipschitz, terms.terminal),
            "bound_velocity": terms.bound(terms.lipschitz, terms.velocity),
        }
        return [Score(name, value, "lower") for name, value in values.items()]

    @torch.no_grad()
    def terms(self, field: Field, noise: Tensor, weight: float) -> BoundTerms:
        """Return the integrand, from the jumps of noise (P, C) at time 1."""
        x0 = draws(self._dataset, len(noise), stream=2).to(noise)
        times = (torch.arange(self._nodes) + 0.5) / self._nodes
        exact, at = noise.cpu().double(), 1.0
        found = []
        for r in reversed(times.tolist()):
            exact = self._follow(exact, at, r)
            here = _Moment(field, r, weight)
            found.append(self._moment(here, noise, exact.to(noise), x0))
            at = r
        columns = torch.tensor(found[::-1], dtype=torch.float64).T
        return BoundTerms(*columns)

    def _follow(self, x: Tensor, t: float, s: float) -> Tensor:
        count = x.new_ones(len(x))
        labels = torch.zeros(len(x), dtype=torch.int64)
        return self._flow.flow(x, t * count, s * count, labels, steps=20)

    def _moment(
        self, here: _Moment, noise: Tensor, exact: Tensor, x0: Tensor
    ) -> tuple[float, float, float, float]:
        """Return both rates, the terminal and the velocity error at one time r."""
        moved, speed = here.jump(noise)
        landed = noise + moved
        terminal = _square(speed - here.velocity(landed))
        x = (1 - here.r) * x0 + here.r * noise
        r, labels = here.times(x).double(), here.labels(x)
        true = self._flow.velocity(x.cpu(), r.cpu(), labels.cpu())
        velocity = _square(here.velocity(x).cpu().double() - true)
        visited = torch.cat([landed, exact, (landed + exact) / 2, self._lattice.to(noise)])
        return *here.rates(visited), float(terminal), float(velocity)


@dataclass(frozen=True)
class _Moment:
    """A flow at one time r and one weight; points are (P, C)."""

    field: Field
    r: float
    weight: float

    def times(self, x: Tensor) -> Tensor:
        """Return r for each point."""
        return x.new_full((len(x),), self.r)

    def labels(self, x: Tensor) -> Tensor:
        """Return the only class for each point."""
        return torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def velocity(self, x: Tensor) -> Tensor:
        """Return u(x, r)."""
        w = x.new_full((len(x),), self.weight)
        return self.field.velocity(x, self.times(x), self.labels(x), w)

    def jump(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(x, 1, r) and its derivative by r."""
        one, w = x.new_ones(len(x)), x.new_full((len(x),), self.weight)

        def displacement(r: Tensor) -> Tensor:
            return self.field.displacement(x, one, r, self.labels(x), w)

        found = torch.func.jvp(displacement, (self.times(x),), (one,))
        return found[0], found[1]

    def rates(self, x: Tensor) -> tuple[float, float]:
        """Return the largest |J|, and eigenvalue of -(J + J^T) / 2, at any of the points."""
        columns = []
        for k in range(x.shape[1]):
            axis = torch.zeros_like(x)
            axis[:, k] = 1
            columns.append(torch.func.jvp(self.velocity, (x,), (axis,))[1])
        jacobian = torch.stack(columns, dim=-1).cpu()
        if not bool(jacobian.isfinite().all()):
            return math.nan, math.nan
        turned = -(jacobian + jacobian.mT) / 2
        stretch = torch.linalg.matrix_norm(jacobian, 2).max()
        return float(stretch), float(torch.linalg.eigvalsh(turned).max())


def _square(x: Tensor) -> Tensor:
    """Return the mean over points of the squared norm."""
    return x.square().sum(dim=1).mean()
