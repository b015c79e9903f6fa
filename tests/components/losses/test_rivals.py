"""Flow matching, MeanFlow, PID and Shortcut against slow versions in float64."""

from dataclasses import replace

import pytest
import torch

from components.flow_maps import Exponential, Plain, Scaled
from components.guidances import ConstantGuidance, NoGuidance, RandomBeta
from components.losses import PID, TVM, FlowMatching, MeanFlow, Shortcut
from components.time_samplers import Uniform
from framework import UserError
from framework.evaluator import Evaluator
from framework.protocols import Evaluation
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
        u_e = network(x, T, T, empty, ONE)  # as dropped labels are trained
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


@pytest.mark.parametrize(("kappa", "passes"), [(0.0, 2), (0.4, 3)])
def test_mean_flow_asks_for_its_own_velocity_only_where_it_counts(kappa, passes):
    slow = SlowEvaluator(dit(0))
    MeanFlow(FixedTimes(T, S), FixedGuidance(W), kappa=kappa)(batch(), slow)
    assert len(slow.queries) == passes


@pytest.mark.parametrize("mix", ["constant", "random"])
def test_mean_flow_asks_the_empty_class_only_at_the_weight_that_it_trains(mix):
    data, seen = batch(64), {True: set(), False: set()}

    def evaluate(*queries):
        for query in queries:
            seen[query.gradient].update(query.w[query.c == data.empty_class].tolist())
        return tuple(Evaluation(torch.ones_like(q.x), torch.ones_like(q.x)) for q in queries)

    MeanFlow(Uniform(), ConstantGuidance(2.0, 0.5), kappa=0.4, mix=mix)(data, evaluate)
    assert seen[False] == seen[True] == {1.0}


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
    with pytest.raises(UserError, match="teacher is 'student'"):
        PID(Uniform(), ConstantGuidance(), Plain(), teacher="student")
    with pytest.raises(UserError, match="jump_share"):
        Shortcut(Uniform(), ConstantGuidance(), Plain(), jump_share=2.0)


def pid_by_hand(network, target, data):
    """Equation 19 with the derivative by finite differences: (B,)."""
    w = torch.where(data.labels == data.empty_class, ONE, W)

    def f(s):
        return column((s - 1) * w) * network(data.noise, ONE, s, data.labels, w)

    h = 1e-6
    df_ds = (f(S + h) - f(S - h)) / (2 * h)
    u = column(w) * target(data.noise + f(S), S, S, data.labels, w)
    return mean_square(df_ds - u.detach()) / w**2


def test_pid_follows_a_frozen_teacher():
    network, teacher, data = dit(0), dit(1).requires_grad_(False), batch()
    loss = PID(FixedTimes(T, S), FixedGuidance(W), Scaled())
    assert loss.averages()["target"].decay(17) == 1
    expected = pid_by_hand(network, teacher, data)
    for evaluate in (SlowEvaluator, Evaluator):
        terms = loss(data, evaluate(network, {"target": teacher}))
        torch.testing.assert_close(terms.total, expected, atol=1e-7, rtol=1e-6)
        assert set(terms.parts) == {"terminal"}


def test_pid_with_its_own_velocity_is_tvm_from_noise_with_current_weights():
    network, data = dit(0), batch()
    own = PID(FixedTimes(T, S), FixedGuidance(W), Scaled(), teacher="own")
    assert own.averages()["target"].decay(17) == 0
    averages = {"target": dit(0).requires_grad_(False)}
    tvm = TVM(FixedTimes(ONE, S), FixedGuidance(W), Scaled())
    found, expected = (loss(data, Evaluator(network, averages)) for loss in (own, tvm))
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(found.parts["terminal"], expected.parts["terminal"])


def test_shortcut_asks_two_halves_to_make_a_whole():
    network, target, data = dit(0), dit(1).requires_grad_(False), batch()
    loss = Shortcut(FixedTimes(T, S), FixedGuidance(W), Scaled(), jump_share=1.0, levels=3)
    u = torch.tensor([[0.1, 0.9, 0.5], [0.5, 0.9, 0.5], [0.9, 0.3, 0.5], [1, 1, 0.5]]).double()
    uniform = data.uniform
    data = replace(data, uniform=lambda n, k: u if n == "jumps" else uniform(n, k))
    t = torch.tensor([1, 1, 0.5, 1]).double()
    m = torch.tensor([0.5, 0.75, 0.375, 0.875]).double()
    s = torch.tensor([0, 0.5, 0.25, 0.75]).double()
    w = torch.where(data.labels == data.empty_class, ONE, W)

    def f(net, x, t, s, shortest=False):
        end = torch.where(t - s == 0.125, t, s) if shortest else s  # halves of a quarter
        return column((s - t) * w) * net(x, t, end, data.labels, w)

    x = column(1 - t) * data.x0 + column(t) * data.noise
    half = f(target, x, t, m, shortest=True)
    error = f(network, x, t, s) - half - f(target, x + half, m, s, shortest=True)
    expected = mean_square(error / column(t - s)) / w**2
    terms = loss(data, SlowEvaluator(network, {"target": target}))
    torch.testing.assert_close(terms.total, expected)
    assert bool(terms.parts["flow_matching"].isnan().all())


@pytest.mark.parametrize("levels", [1, 2, 7])
def test_shortcut_takes_no_target_of_a_length_that_it_never_trains(levels):
    loss = Shortcut(Uniform(), ConstantGuidance(), Exponential(), levels=levels)
    lengths = {"trained": set(), "target": set()}

    def evaluate(*queries):
        for query in queries:
            lengths[query.weights].update((query.t - query.s).tolist())
        return tuple(Evaluation(torch.ones_like(query.x)) for query in queries)

    data, g = batch(256), torch.Generator().manual_seed(0)
    uniform = lambda _, k: torch.rand(256, k, generator=g, dtype=torch.float64)  # noqa: E731
    loss(replace(data, uniform=uniform), evaluate)
    assert lengths["target"] <= lengths["trained"]


def test_shortcut_without_jumps_is_flow_matching():
    network, data = dit(0), batch()
    averages = {"target": dit(1).requires_grad_(False)}
    arguments = (FixedTimes(T, S), FixedGuidance(W), Scaled())
    data = replace(data, uniform=lambda n, k: torch.rand(4, k, dtype=torch.float64))
    found = Shortcut(*arguments, jump_share=0.0)(data, Evaluator(network, averages))
    expected = FlowMatching(*arguments)(data, Evaluator(network, averages))
    torch.testing.assert_close(found.total, expected.total)
    assert bool(found.parts["jump"].isnan().all())
    found.total.mean().backward()
    assert bool(network.patch_embedding.weight.grad.isfinite().all())


@pytest.mark.parametrize("levels", [1, 7])
def test_shortcut_jumps_are_on_their_grid_also_at_the_ends(levels):
    loss = Shortcut(Uniform(), NoGuidance(), Plain(), jump_share=1.0, levels=levels)
    ends = torch.tensor([0.0, 0.3, 1 - 1e-16, 1.0], dtype=torch.float64)
    u = torch.cartesian_prod(ends, ends, torch.tensor([0.5], dtype=torch.float64))
    jumps = loss._jumps(u, torch.zeros(16))
    length = jumps.t - jumps.s
    assert bool(((jumps.s >= 0) & (jumps.t <= 1) & (length > 0)).all())
    assert torch.equal(jumps.middle, (jumps.t + jumps.s) / 2)
    assert torch.equal((jumps.s / length).round(), jumps.s / length)
