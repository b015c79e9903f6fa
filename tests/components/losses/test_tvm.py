"""The TVM loss against its equations, written out slowly in float64."""

import pytest
import torch

from components.flow_maps import Exponential, Plain, Scaled
from components.guidances import ConstantGuidance, NoGuidance, RandomW
from components.losses import TVM, FlowMatching
from components.time_samplers import Gap, GapStar
from framework import UserError
from framework.evaluator import Evaluator
from tests.components.building import (
    FixedGuidance,
    FixedTimes,
    SlowEvaluator,
    batch,
    dit,
    finite_difference,
)

T = torch.tensor([0.9, 0.6, 0.4, 1.0], dtype=torch.float64)
S = torch.tensor([0.2, 0.5, 0.4, 0.0], dtype=torch.float64)  # the third sample does not jump
S_VELOCITY = torch.tensor([0.7, 0.1, 0.3, 0.5], dtype=torch.float64)
W = torch.tensor([1.5, 2.0, 1.0, 3.0], dtype=torch.float64)
ONE = torch.ones(4, dtype=torch.float64)


def column(v):
    return v[:, None, None, None]


def mean_square(x):
    return x.square().mean(dim=(1, 2, 3))


def by_hand(network, target, data, flow_map):
    """Equations 12, 14 and 15 with the derivative by finite differences: terms (B,) each."""
    w = torch.where(data.labels == data.empty_class, ONE, W)
    empty = torch.full_like(data.labels, data.empty_class)

    def f(s):
        x_t = column(1 - T) * data.x0 + column(T) * data.noise
        return column(flow_map.gamma(T, s, w)) * network(x_t, T, s, data.labels, w)

    def u(net, x, s, c, w):
        return column(flow_map.dgamma_ds(s, s, w)) * net(x, s, s, c, w)

    h = 1e-6
    df_ds = (f(S + h) - f(S - h)) / (2 * h)
    x_t = column(1 - T) * data.x0 + column(T) * data.noise
    terminal = mean_square(df_ds - u(target, x_t + f(S), S, data.labels, w))
    x_s = column(1 - S_VELOCITY) * data.x0 + column(S_VELOCITY) * data.noise
    v = data.noise - data.x0
    mixed = column(w) * v + column(1 - w) * u(target, x_s, S_VELOCITY, empty, ONE)
    fm = mean_square(u(network, x_s, S_VELOCITY, data.labels, w) - mixed)
    return torch.where(T == S, 0.0, terminal) / w**2, fm / w**2


def loss_of(flow_map, **options):
    return TVM(FixedTimes(T, S, S_VELOCITY), FixedGuidance(W), flow_map, **options)


@pytest.mark.parametrize("flow_map", [Plain(), Scaled(), Exponential(1.5, 0.5)])
def test_values_are_those_of_the_equations(flow_map):
    network, target, data = dit(0), dit(1), batch()
    terms = loss_of(flow_map)(data, SlowEvaluator(network, {"target": target}))
    with torch.no_grad():
        terminal, fm = by_hand(network, target, data, flow_map)
    torch.testing.assert_close(terms.parts["terminal"], terminal, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(terms.parts["flow_matching"], fm)
    torch.testing.assert_close(terms.total, terminal + fm, atol=1e-7, rtol=1e-6)
    assert terms.parts["terminal"][2] == 0
    assert not any(part.requires_grad for part in terms.parts.values())


def gradient(network, terms):
    network.zero_grad()
    terms.total.mean().backward()
    return {
        name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()
    }


@pytest.mark.parametrize("detach", [False, True])
def test_the_frameworks_evaluator_gives_the_slow_ones_gradient(detach):
    network, target, data = dit(0), dit(1), batch()
    averages = {"target": target.requires_grad_(False)}
    loss = loss_of(Scaled(), detach_jvp=detach)
    fast = gradient(network, loss(data, Evaluator(network, averages)))
    slow = gradient(network, loss(data, SlowEvaluator(network, averages)))
    torch.testing.assert_close(fast, slow)


def test_gradient_flows_through_the_jvp_unless_detached():
    network, data = dit(0), batch()
    averages = {"target": dit(1).requires_grad_(False)}
    whole = gradient(network, loss_of(Scaled())(data, SlowEvaluator(network, averages)))
    detached_loss = loss_of(Scaled(), detach_jvp=True)
    detached = gradient(network, detached_loss(data, SlowEvaluator(network, averages)))
    name = "blocks.0.mlp.expand.weight"
    assert not torch.allclose(whole[name], detached[name], rtol=1e-2)


def test_the_gradient_is_that_of_the_equations_along_a_direction():
    """By finite differences in the weights, the target being held: sg of the end point too."""
    network, target, data = dit(0), dit(1).requires_grad_(False), batch()
    loss = loss_of(Scaled())
    slow = gradient(network, loss(data, SlowEvaluator(network, {"target": target})))
    g = torch.Generator().manual_seed(3)
    direction = {
        name: torch.randn(p.shape, generator=g, dtype=p.dtype)
        for name, p in network.named_parameters()
    }
    expected = sum(
        float((slow[name] * d).sum()) for name, d in direction.items() if slow[name] is not None
    )
    h, values = 1e-6, []
    frozen = dit(0)  # the end point is taken from the weights before the move
    for sign in (1, -1):
        moved = dit(0)
        with torch.no_grad():
            for name, p in moved.named_parameters():
                p.add_(sign * h * direction[name])
        values.append(total_with_frozen_end_point(moved, frozen, target, data))
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(expected, rel=1e-5)


def total_with_frozen_end_point(network, frozen, target, data):
    """The mean loss with the arrival x_t + sg f computed from other weights."""

    class Evaluate(SlowEvaluator):
        def __call__(self, *queries):
            found = super().__call__(*queries)
            if queries[0].tangent is None:
                return found
            self.actual = found[0].F
            at_frozen = frozen(*(getattr(queries[0], n) for n in ("x", "t", "s", "c", "w")))
            self.frozen = at_frozen.detach()
            return found

        def evaluation(self, query):
            if query.weights == "target" and torch.equal(query.s, S):
                shift = column((S - T) * query.w) * (self.frozen - self.actual.detach())
                query = type(query)(
                    query.x + shift, query.t, query.s, query.c, query.w, weights="target"
                )
            return super().evaluation(query)

    terms = loss_of(Scaled())(data, Evaluate(network, {"target": target}))
    return terms.total.detach().mean().item()


def test_equal_times_everywhere_are_flow_matching_exactly():
    network, data = dit(0), batch()
    averages = {"target": dit(1).requires_grad_(False)}
    arguments = (FixedTimes(S, S), FixedGuidance(W), Scaled())
    slow = SlowEvaluator(network, averages)
    tvm, fm = TVM(*arguments)(data, slow), FlowMatching(*arguments)(data, slow)
    assert torch.equal(tvm.total, fm.total)
    ours, theirs = gradient(network, tvm), gradient(network, fm)
    for name, value in theirs.items():
        if value is None:
            assert ours[name] is None or not ours[name].any()
        else:
            assert torch.equal(ours[name], value)


def test_equal_times_everywhere_are_flow_matching_in_shared_passes_too():
    network, data = dit(0), batch()
    averages = {"target": dit(1).requires_grad_(False)}
    times, guidance = FixedTimes(S, S), FixedGuidance(W)
    tvm = TVM(times, guidance, Scaled())(data, Evaluator(network, averages))
    fm = FlowMatching(times, guidance, Scaled())(data, Evaluator(network, averages))
    assert torch.equal(tvm.parts["terminal"], torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(tvm.total, fm.total, rtol=1e-12, atol=0)
    ours, theirs = gradient(network, tvm), gradient(network, fm)
    for name, value in theirs.items():
        if value is None:
            assert ours[name] is None or not ours[name].any()
        else:
            torch.testing.assert_close(ours[name], value, rtol=1e-10, atol=1e-14)


def test_equal_times_by_the_samplers_share_are_flow_matching_too():
    network, data = dit(0), batch()
    averages = {"target": dit(1).requires_grad_(False)}
    arguments = (GapStar(equal_share=1.0), RandomW(), Scaled())
    tvm = gradient(network, TVM(*arguments)(data, Evaluator(network, averages)))
    fm = gradient(network, FlowMatching(*arguments)(data, Evaluator(network, averages)))
    for name, value in fm.items():
        torch.testing.assert_close(tvm[name], value, rtol=1e-10, atol=1e-14)


def test_queries_that_can_share_a_pass_come_in_one_call():
    calls = []
    slow = SlowEvaluator(dit(0), {"target": dit(1)})

    def evaluate(*queries):
        calls.append([(q.weights, q.gradient, q.tangent is not None) for q in queries])
        return slow(*queries)

    loss_of(Scaled())(batch(), evaluate)
    assert calls == [
        [("trained", True, True), ("trained", True, False)],
        [("target", False, False), ("target", False, False)],
    ]


def test_without_guidance_no_pass_is_spent_on_the_empty_class():
    network, data = dit(0), batch()
    averages = {"target": dit(1)}
    slow = SlowEvaluator(network, averages)
    plain = TVM(Gap(), NoGuidance(), Plain())(data, slow)
    assert len(slow.queries) == 3
    one = TVM(Gap(), FixedGuidance(ONE), Plain())
    draws = NoGuidance()(data.labels, data.empty_class, data.uniform("guidance", 2))
    one.guidance = lambda *_: draws
    one.guidance.weight = None
    assert torch.allclose(plain.total, one(data, SlowEvaluator(network, averages)).total)


def test_the_target_is_an_average_of_the_given_decay():
    for decay in (0.0, 0.99):
        loss = TVM(Gap(), ConstantGuidance(), Scaled(), target_decay=decay)
        assert {name: a.decay(1) for name, a in loss.averages().items()} == {"target": decay}
    with pytest.raises(UserError, match="decay is 1"):
        TVM(Gap(), ConstantGuidance(), Scaled(), target_decay=1.0)


def test_the_derivative_asked_for_is_the_one_by_s():
    network, slow = dit(0), SlowEvaluator(dit(0), {"target": dit(1)})
    loss_of(Scaled())(batch(), slow)
    jump = slow.queries[0]
    (result,) = slow(jump)
    torch.testing.assert_close(
        result.dF, finite_difference(network, jump, 1e-6), atol=1e-6, rtol=1e-5
    )
