"""Samplers on a flow known in closed form, and the evaluations that they spend."""

import itertools
from importlib.util import find_spec

import pytest
import torch

from components.samplers import Adaptive, Euler, FlowMapSampler, Guided, Heun
from components.samplers.grid import time_grid
from framework import UserError

HAS_TORCHDIFFEQ = find_spec("torchdiffeq") is not None
needs_torchdiffeq = pytest.mark.skipif(not HAS_TORCHDIFFEQ, reason="needs torchdiffeq")


class Exponential:
    """u(x, t) = w x, whose flow map is exp(w (s - t)) x; counts its evaluations."""

    def __init__(self):
        self.times = []

    def displacement(self, x, t, s, c, w):
        self.times.append((float(t[0]), float(s[0])))
        return torch.expm1(w * (s - t))[:, None].to(x.dtype) * x

    def velocity(self, x, t, c, w):
        self.times.append(float(t[0]))
        return w[:, None].to(x.dtype) * x


def noise(dtype=torch.float32):
    return torch.linspace(-2, 2, 12, dtype=dtype).reshape(6, 2)


C, W = torch.zeros(6, dtype=torch.int64), torch.full((6,), 0.5)


@pytest.mark.parametrize("nfe", [1, 2, 7])
@pytest.mark.parametrize("power", [1.0, 2.5])
def test_flow_map_jumps_are_exact_on_any_grid(nfe, power):
    field = Exponential()
    x = FlowMapSampler(power)(field, noise(), C, W, nfe)
    assert x.dtype == torch.float64
    torch.testing.assert_close(x, noise().double() * torch.tensor(-0.5).exp(), check_dtype=False)
    assert len(field.times) == nfe
    assert field.times[0][0] == 1
    assert field.times[-1][1] == 0
    starts, ends = [t for t, _ in field.times], [s for _, s in field.times]
    assert starts[1:] == ends[:-1]


def test_flow_map_jumps_stop_at_any_times():
    field, times = Exponential(), (1.0, 0.7, 0.1, 0.0)
    x = FlowMapSampler(times=times)(field, noise(torch.float64), C, W, 3)
    torch.testing.assert_close(x, noise(torch.float64) * torch.tensor(-0.5).double().exp())
    assert field.times == list(itertools.pairwise(times))
    with pytest.raises(ValueError, match="makes 3 jumps, and 2 evaluations are asked for"):
        FlowMapSampler(times=times)(field, noise(), C, W, 2)
    for wrong in ((), (1.0,), (0.9, 0.0), (1.0, 0.5), (1.0, 0.5, 0.5, 0.0), (1.0, 0.2, 0.5, 0.0)):
        with pytest.raises(UserError, match="have to fall from 1 to 0"):
            FlowMapSampler(times=wrong)


def test_time_grids():
    assert time_grid(4, 1.0) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert time_grid(2, 3.0) == [1.0, 0.125, 0.0]


@pytest.mark.parametrize("sampler", [FlowMapSampler(), Euler(), Heun()])
@pytest.mark.parametrize("nfe", [1, 2, 5, 8])
def test_evaluations_are_spent_exactly(sampler, nfe):
    field = Exponential()
    sampler(field, noise(), C, W, nfe)
    assert len(field.times) == nfe
    with pytest.raises(ValueError, match="at least 1"):
        sampler(field, noise(), C, W, 0)
    with pytest.raises(ValueError, match="wants to know their number"):
        sampler(field, noise(), C, W, None)


def errors(sampler, counts):
    exact = noise(torch.float64) * torch.tensor(-0.5, dtype=torch.float64).exp()
    found = [sampler(Exponential(), noise(torch.float64), C, W, nfe) for nfe in counts]
    return [float((x - exact).abs().max()) for x in found]


@pytest.mark.parametrize(("sampler", "order"), [(Euler(), 1), (Heun(), 2)])
def test_orders_of_convergence(sampler, order):
    coarse, fine = errors(sampler, (32, 64))
    assert coarse / fine == pytest.approx(2**order, rel=0.05)


def test_an_odd_evaluation_of_heun_is_an_euler_step():
    one = Heun()(Exponential(), noise(), C, W, 1)
    torch.testing.assert_close(one, Euler()(Exponential(), noise(), C, W, 1))
    field = Exponential()
    Heun()(field, noise(), C, W, 3)
    assert field.times == [1.0, 0.5, 0.5]


def test_values_out_of_range_are_refused_by_name():
    for sampler in (FlowMapSampler, Euler, Heun):
        with pytest.raises(UserError, match="time_power"):
            sampler(0.0)


class ByClass(Exponential):
    """As above, the velocity being c times as fast for class c; the empty class is 3."""

    empty_class = 3

    def velocity(self, x, t, c, w):
        assert (w == 1).all()
        return super().velocity(x, t, c, c.to(x.dtype))

    def displacement(self, x, t, s, c, w):
        assert (w == 1).all()
        return super().displacement(x, t, s, c, c.to(x.dtype))


def test_guidance_while_sampling_mixes_with_and_without_the_class():
    field = ByClass()
    x = Guided(Euler())(field, noise(), C + 1, W + 1, 4)
    by_hand = noise().double()
    for _ in range(2):
        by_hand = by_hand * (1 - 0.5 * (3 + 1.5 * (1 - 3)))
    torch.testing.assert_close(x, by_hand)
    assert len(field.times) == 4


def test_guided_jumps_mix_displacements():
    x = Guided(FlowMapSampler())(ByClass(), noise(), C + 1, W + 1, 2)
    empty, own = (torch.tensor(-float(c)).exp() for c in (3, 1))
    torch.testing.assert_close(x, noise() * (empty + 1.5 * (own - empty)), check_dtype=False)


def test_guided_sampling_refuses_half_a_pair():
    with pytest.raises(ValueError, match="pairs: 3 is odd"):
        Guided(Euler())(ByClass(), noise(), C, W, 3)


METHODS = ["dopri5", "dopri8", "bosh3", "adaptive_heun"]


@needs_torchdiffeq
@pytest.mark.parametrize("method", METHODS)
def test_adaptive_steps_keep_the_tolerance_at_the_cost_that_it_takes(method):
    exact, spent = noise(torch.float64) * torch.tensor(-0.5, dtype=torch.float64).exp(), []
    for tolerance in (1e-2, 1e-4):
        field = Exponential()
        sampler = Adaptive(rtol=tolerance, atol=tolerance, method=method)
        x = sampler(field, noise(torch.float64), C, W, None)
        assert x.dtype == torch.float64
        assert float((x - exact).abs().max()) < 3 * tolerance
        assert min(field.times) >= 0
        assert max(field.times) <= 1
        spent.append(len(field.times))
    assert spent[0] <= spent[1]
    assert spent[1] > 4


class Stiff(Exponential):
    """One sample of the batch is much faster than the others."""

    def velocity(self, x, t, c, w):
        rate = torch.ones(len(x), 1, dtype=x.dtype)
        rate[0] = 30
        return super().velocity(x, t, c, w) * rate


@needs_torchdiffeq
def test_no_sample_hides_behind_the_others():
    x = Adaptive(1e-4, 1e-4)(Stiff(), noise(torch.float64), C, W, None)
    torch.testing.assert_close(
        x[0], noise(torch.float64)[0] * torch.tensor(-15.0, dtype=torch.float64).exp(),
        rtol=0, atol=3e-4,
    )  # fmt: skip


class Broken(Exponential):
    def velocity(self, x, t, c, w):
        return super().velocity(x, t, c, w) * (1 if t[0] > 0.5 else float("nan"))


@needs_torchdiffeq
def test_adaptive_gives_up_aloud(caplog):
    assert Adaptive()(Broken(), noise(), C, W, None).isnan().all()
    assert "velocity at time 0." in caplog.text
    field = Exponential()
    assert Adaptive(1e-9, 1e-9, most=20)(field, noise(torch.float64), C, W, None).isnan().all()
    assert len(field.times) == 20
    assert "20 evaluations do not meet the tolerance" in caplog.text


@needs_torchdiffeq
def test_adaptive_is_not_told_how_many_evaluations_to_spend():
    with pytest.raises(ValueError, match=r"set evaluation\.nfe = None"):
        Adaptive()(Exponential(), noise(), C, W, 4)


@needs_torchdiffeq
def test_guided_adaptive_steps_count_both_evaluations():
    field = ByClass()
    x = Guided(Adaptive(1e-6, 1e-6))(field, noise(torch.float64), C + 1, W + 1, None)
    speed = torch.tensor(-(3 + 1.5 * (1 - 3)), dtype=torch.float64)
    torch.testing.assert_close(x, noise(torch.float64) * speed.exp(), rtol=1e-4, atol=1e-4)
    assert len(field.times) % 2 == 0


@pytest.mark.skipif(HAS_TORCHDIFFEQ, reason="torchdiffeq is installed")
def test_adaptive_says_what_to_install():
    with pytest.raises(UserError, match=r"pip install 'tvmlab\[samplers\]'"):
        Adaptive()
