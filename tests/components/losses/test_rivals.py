"""Flow matching and MeanFlow against slow versions in float64."""

import pytest
import torch

from components.flow_maps import Plain, Scaled
from components.guidances import ConstantGuidance, NoGuidance, RandomBeta
from components.losses import FlowMatching, MeanFlow
from components.time_samplers import Uniform
from framework import UserError
from framework.evaluator import Evaluator
from tests.components.building import FixedGuidance, FixedTimes, SlowEvaluator, batch, dit

T = torch.tensor([0.9, 0.6, 0.4, 1.0], dtype=torch.float64)
S = torch.tensor([0.2, 0.5, 0.4, 0.0], dtype=torch.float64)
W = torch.tensor([1.5, 2.0, 1.0, 3.0], dtype=torch.float64)
ONE = torch.ones(4, dtype=torch.float64)


def column(v):
    return v[:, None, None, None]


def mean_square(x):
    return x.square().mean(dim=(1, 2, 3))


def test_flow_matching_without_guidance_is_regression_on_the_velocity():
    network, data = dit(0), batch()
    loss = FlowMatching(FixedTimes(T, S), NoGuidance(0.0), Plain())
    x = column(1 - S) * data.x0 + column(S) * data.noise
    v = data.noise - data.x0
    expected = mean_square(network(x, S, S, data.labels, ONE) - v)
    slow = SlowEvaluator(network)
    torch.testing.assert_close(loss(data, slow).total, expected)
    assert len(slow.queries) == 1
    assert not loss.averages()


def test_flow_matching_with_guidance_mixes_the_targets_unconditional_velocity():
    network, target, data = dit(0), dit(1), batch()
    loss = FlowMatching(FixedTimes(T, S), FixedGuidance(W), Scaled(), target_decay=0.5)
    w = torch.where(data.labels == data.empty_class, ONE, W)
    x = column(1 - S) * data.x0 + column(S) * data.noise
    empty = torch.full_like(data.labels, data.empty_class)
    mixed = column(w) * (data.noise - data.x0) + column(1 - w) * target(x, S, S, empty, ONE)
    expected = mean_square(column(w) * network(x, S, S, data.labels, w) - mixed) / w**2
    found = loss(data, SlowEvaluator(network, {"target": target})).total
    torch.testing.assert_close(found, expected)
    assert loss.averages()["target"].decay(3) == 0.5


def mean_flow_by_hand(network, data, w, w_seen, kappa, interval=(0.0, 1.0)):
    """Equation 18 with the total derivative by finite differences: error (B,)."""
    x = column(1 - T) * data.x0 + column(T) * data.noise
    empty = torch.full_like(data.labels, data.empty_class)
    v = data.noise - data.x0
    with torch.no_grad():
        u_c = network(x, T, T, data.labels, w_seen)
        u_e = network(x, T, T, empty, w_seen)
        mixed = column(w) * v + kappa * u_c + column(1 - w - kappa) * u_e
        inside = (interval[0] <= T) & (interval[1] >= T) & (data.labels != data.empty_class)
        v = torch.where(column(inside), mixed, v)
        h = 1e-6

        def moved(sign):
            return network(x + sign * h * v, T + sign * h, S, data.labels, w)

        target = v + column(S - T) * (moved(1) - moved(-1)) / (2 * h)
    return mean_square(network(x, T, S, data.labels, w) - target)


@pytest.mark.parametrize(
    "options",
    [
        {"kappa": 0.0},
        {"kappa": 0.4},
        {"kappa": 0.4, "mix": "random"},
        {"kappa": 0.4, "interval_start": 0.5, "interval_end": 0.95},
    ],
    ids=str,
)
def test_mean_flow_is_its_equation(options):
    network, data = dit(0), batch()
    loss = MeanFlow(FixedTimes(T, S), FixedGuidance(W), **options)
    w = torch.where(data.labels == data.empty_class, ONE, W)
    interval = (options.get("interval_start", 0.0), options.get("interval_end", 1.0))
    w_seen = ONE if "mix" in options else w
    expected = mean_flow_by_hand(network, data, w, w_seen, options["kappa"], interval)
    for evaluate in (SlowEvaluator(network), Evaluator(network)):
        terms = loss(data, evaluate)
        torch.testing.assert_close(terms.total, expected, atol=1e-7, rtol=1e-6)
        gradients = torch.autograd.grad(terms.total.sum(), network.output.linear.weight)
        slow = torch.autograd.grad(expected.sum(), network.output.linear.weight, retain_graph=True)
        torch.testing.assert_close(gradients, slow, atol=1e-6, rtol=1e-5)


def test_mean_flow_without_guidance_takes_one_pass_and_data_velocities():
    network, data = dit(0), batch()
    slow = SlowEvaluator(network)
    loss = MeanFlow(FixedTimes(T, S), NoGuidance(0.0))
    expected = mean_flow_by_hand(network, data, ONE, ONE, 0.0)
    torch.testing.assert_close(loss(data, slow).total, expected, atol=1e-7, rtol=1e-6)
    assert len(slow.queries) == 1


def test_the_adaptive_weight_scales_each_sample_and_carries_no_gradient():
    network, data = dit(0), batch()
    arguments = (FixedTimes(T, S), FixedGuidance(W))
    plain = MeanFlow(*arguments)(data, SlowEvaluator(network))
    adapted = MeanFlow(*arguments, adaptive_power=0.75, adaptive_offset=0.01)
    terms = adapted(data, SlowEvaluator(network))
    weight = (plain.total.detach() + 0.01) ** -0.75
    torch.testing.assert_close(terms.total, weight * plain.total)
    torch.testing.assert_close(terms.parts["mean_flow"], plain.total.detach())
    name = network.output.linear.weight
    found = torch.autograd.grad(terms.total.sum(), name)
    expected = torch.autograd.grad((weight * plain.total).sum(), name)
    torch.testing.assert_close(found, expected)


def test_random_guidance_works_with_every_loss():
    network = dit(0)
    averages = {"target": dit(1)}
    for loss in (
        FlowMatching(Uniform(), RandomBeta(), Scaled()),
        MeanFlow(Uniform(0.5), RandomBeta(), kappa=0.3, mix="random"),
    ):
        assert bool(loss(batch(), Evaluator(network, averages)).total.isfinite().all())


def test_values_out_of_range_are_refused_by_name():
    for options, message in (
        ({"kappa": 1.0}, "kappa is 1"),
        ({"mix": "both"}, "mix is 'both'"),
        ({"interval_start": 0.8, "interval_end": 0.2}, "interval_start"),
        ({"adaptive_power": -1.0}, "adaptive_power"),
        ({"adaptive_offset": 0.0}, "adaptive_offset"),
    ):
        with pytest.raises(UserError, match=message):
            MeanFlow(Uniform(), ConstantGuidance(), **options)
