"""Flow maps: zero at t = s, and dgamma_ds is the derivative of gamma."""

import pytest
import torch

from components.flow_maps import Exponential, Plain, Power, Scaled
from framework import UserError

MAPS = [Plain(), Scaled(), Power(0.3), Exponential(2.0, 0.5)]


def arguments(count=50):
    g = torch.Generator().manual_seed(0)
    t, s, w = torch.rand(3, count, generator=g, dtype=torch.float64)
    return torch.maximum(t, s), torch.minimum(t, s), 1 + w


@pytest.mark.parametrize("flow_map", MAPS, ids=lambda m: type(m).__name__)
def test_the_derivative_is_that_of_gamma(flow_map):
    t, s, w = arguments()
    _, slope = torch.func.jvp(lambda s: flow_map.gamma(t, s, w), (s,), (torch.ones_like(s),))
    torch.testing.assert_close(flow_map.dgamma_ds(t, s, w), slope)


@pytest.mark.parametrize("flow_map", MAPS, ids=lambda m: type(m).__name__)
def test_no_jump_is_no_displacement(flow_map):
    t, _, w = arguments()
    assert torch.equal(flow_map.gamma(t, t, w), torch.zeros_like(t))


def test_each_has_its_definition():
    t, s, w = arguments()
    torch.testing.assert_close(Plain().gamma(t, s, w), s - t)
    torch.testing.assert_close(Scaled().gamma(t, s, w), (s - t) * w)
    torch.testing.assert_close(Power(0.0).gamma(t, s, w), Plain().gamma(t, s, w))
    torch.testing.assert_close(Power(1.0).gamma(t, s, w), Scaled().gamma(t, s, w))
    expected = -(1 - torch.exp(-2 * (t - s))) / 2 * w**0.5
    torch.testing.assert_close(Exponential(2.0, 0.5).gamma(t, s, w), expected)
    torch.testing.assert_close(
        Exponential(1e-8, 1.0).gamma(t, s, w), Scaled().gamma(t, s, w), atol=1e-7, rtol=0
    )


def test_values_out_of_range_are_refused_by_name():
    with pytest.raises(UserError, match="rate"):
        Exponential(0.0)
    with pytest.raises(UserError, match="exponent"):
        Power(float("nan"))
