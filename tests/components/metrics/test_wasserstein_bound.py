"""Theorem 1 in closed form: the printed bound fails, the one that is computed here holds."""

import math

import pytest
import torch

from components.datasets import GaussianMixture, Spirals
from components.metrics import FlowError, WassersteinBound
from framework import UserError
from framework.protocols import Examples

OFF = 0.7  # the constant a by which the velocity is wrong


class StandardNormal:
    """p0 = p1 = N(0, 1): x_t ~ N(0, v_t) with v_t = (1 - t)² + t² and u = (2t - 1) x / v_t."""

    name, shape, num_classes = "standard_normal", (1,), 1

    def __len__(self):
        return 1000

    def examples(self, indices, u):
        return Examples(torch.special.ndtri(u[:, :1]).float(), torch.zeros_like(indices))

    def velocity(self, x, t, c):
        return ((2 * t - 1) / variance(t))[:, None] * x.double()

    def flow(self, x, t, s, c, steps=200):
        return (variance(s.double()) / variance(t.double())).sqrt()[:, None] * x.double()


def variance(t):
    return (1 - t) ** 2 + t**2


class Shifted:
    """The velocity u + a of that dataset, and its exact flow map.

    In y = x / sqrt(v) the flow is dy/dt = a / sqrt(v), whose integral is asinh(2t - 1) / sqrt(2).
    """

    empty_class = 1

    def velocity(self, x, t, c, w):
        return ((2 * t - 1) / variance(t))[:, None] * x + OFF

    def displacement(self, x, t, s, c, w):
        grown = ((2 * s - 1).asinh() - (2 * t - 1).asinh()) / math.sqrt(2)
        y = x / variance(t).sqrt()[:, None] + OFF * grown[:, None]
        return y * variance(s).sqrt()[:, None] - x


@pytest.fixture(scope="module")
def found():
    metric = WassersteinBound(StandardNormal(), nodes=200)
    noise = torch.randn(400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, w = torch.zeros(400, dtype=torch.int64), torch.ones(400, dtype=torch.float64)
    scores = {s.name: s.value for s in metric.field_scores(Shifted(), noise, labels, w)}
    return scores, metric.terms(Shifted(), noise, 1.0)


def test_the_flow_is_off_by_what_the_closed_form_says(found):
    scores, terms = found
    assert scores["flow_error_squared"] == pytest.approx(1.554 * OFF**2, rel=1e-3)
    assert float(terms.terminal.max()) < 1e-12  # an exact flow map
    torch.testing.assert_close(terms.velocity, torch.full_like(terms.velocity, OFF**2))


def test_the_printed_bound_fails(found):
    scores, terms = found
    r = (torch.arange(200) + 0.5) / 200
    torch.testing.assert_close(
        terms.lipschitz, ((2 * r - 1).abs() / variance(r)).double(), atol=1e-5, rtol=1e-4
    )
    printed = torch.exp((terms.lipschitz.cumsum(0) - terms.lipschitz / 2) / 200) * terms.velocity
    assert float(printed.mean()) == pytest.approx(1.435 * OFF**2, rel=1e-3)
    assert scores["flow_error_squared"] > float(printed.mean())  # W2² of a shift, exactly


def test_the_bound_that_is_computed_holds(found):
    scores, _ = found
    bound = scores["w2_squared_bound"]
    assert bound == pytest.approx(2 * 2.1187 * OFF**2, rel=1e-3)
    assert bound == pytest.approx(scores["bound_terminal"] + scores["bound_velocity"])
    assert scores["flow_error_squared"] < scores["w2_squared_bound_one_sided"] <= bound


def test_an_exact_flow_has_no_error_and_no_bound():
    dataset = GaussianMixture(components=2, radius=1.0, std=0.5, labelled=False)

    class Exact:
        empty_class = 1

        def velocity(self, x, t, c, w):
            return dataset.velocity(x, t, c)

        def displacement(self, x, t, s, c, w):
            return dataset.flow(x, t, s, c, steps=60) - x

    noise = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, w = torch.zeros(64, dtype=torch.int64), torch.ones(64, dtype=torch.float64)
    (error,) = FlowError(dataset).field_scores(Exact(), noise, labels, w)
    assert error.value < 1e-5
    scores = WassersteinBound(dataset, nodes=12, points=64).field_scores(Exact(), noise, labels, w)
    values = {score.name: score.value for score in scores}
    assert values["w2_squared_bound"] < 1e-6
    assert values["w2_squared"] < 3 * values["w2_squared_floor"]


def test_labels_and_unknown_flows_are_refused():
    with pytest.raises(UserError, match="8 classes: set its labelled = False"):
        WassersteinBound(GaussianMixture())
    with pytest.raises(UserError, match="spirals does not know"):
        FlowError(Spirals())
