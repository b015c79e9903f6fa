"""Samplers on a flow known in closed form, and the evaluations that they spend."""

import pytest
import torch

from components.samplers import Euler, FlowMapSampler, Guided, Heun
from components.samplers.grid import time_grid
from framework import UserError


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
