"""The flow-matching term, with guidance in its target."""

from __future__ import annotations

from torch import Tensor

from components.losses.draws import Draws, mean_square, point_at
from framework.flow import expand, velocity
from framework.protocols import Batch, Evaluation, FlowMap, Guidance, Query

TARGET = "target"


class VelocityTerm:
    """|| u(x_s', s', c, w) - [w v + (1 - w) u_target(x_s', s', empty, 1)] ||² of one batch.

    The loss evaluates `query`, and `target_query` where there is guidance, beside its own queries.
    """

    def __init__(self, batch: Batch, draws: Draws, flow_map: FlowMap, guidance: Guidance) -> None:
        self._draws, self._flow_map = draws, flow_map
        self._v = batch.noise - batch.x0
        self._x = point_at(batch, draws.s_velocity)
        self._guided = guidance.weight != 1

    @property
    def query(self) -> Query:
        """Return the query of u(x_s', s', c, w)."""
        d = self._draws
        return Query(self._x, d.s_velocity, d.s_velocity, d.c, d.w)

    @property
    def target_queries(self) -> tuple[Query, ...]:
        """Return the query of u_target(x_s', s', empty, 1), or nothing where w is always 1."""
        d = self._draws
        if not self._guided:
            return ()
        return (
            Query(
                self._x,
                d.s_velocity,
                d.s_velocity,
                d.empty,
                d.w.new_ones(d.w.shape),
                weights=TARGET,
                gradient=False,
            ),
        )

    def value(self, evaluation: Evaluation, targets: tuple[Evaluation, ...]) -> Tensor:
        """Return the term (B,) from the answers to `query` and `target_queries`."""
        d = self._draws
        target = self._v
        if targets:
            (unconditional,) = targets
            one = d.w.new_ones(d.w.shape)
            u_empty = velocity(self._flow_map, unconditional.F, d.s_velocity, one)
            w = expand(d.w, target)
            target = w * target + (1 - w) * u_empty
        u = velocity(self._flow_map, evaluation.F, d.s_velocity, d.w)
        return mean_square(u - target)
