"""Weight averages against their closed forms."""

import pytest

from components.weight_averages import ConstantAverage, NoAverage, PowerAverage
from framework import UserError


def averaged(average, values):
    """The running average of values, from the initial value 100."""
    result = 100.0
    for step, value in enumerate(values, start=1):
        decay = average.decay(step)
        assert 0 <= decay <= 1
        result = decay * result + (1 - decay) * value
    return result


VALUES = [float(i**2 % 7) for i in range(1, 50)]


def test_constant_weighs_the_past_geometrically_and_has_no_warm_up():
    expected = 0.9 ** len(VALUES) * 100
    expected += sum(0.1 * 0.9 ** (len(VALUES) - i) * v for i, v in enumerate(VALUES, start=1))
    assert averaged(ConstantAverage(0.9), VALUES) == pytest.approx(expected)


def test_none_follows_the_weights():
    assert averaged(NoAverage(), VALUES) == VALUES[-1]
    assert averaged(ConstantAverage(0.0), VALUES) == VALUES[-1]


def test_power_forgets_the_start_and_weighs_the_past_by_a_power():
    gamma, steps = 3.0, 4000
    values = [step / steps for step in range(1, steps + 1)]
    # With weights proportional to time^gamma the mean of time is (gamma + 1) / (gamma + 2).
    found = averaged(PowerAverage(gamma), values)
    assert found == pytest.approx((gamma + 1) / (gamma + 2), abs=1e-3)
    assert PowerAverage(gamma).decay(1) == 0


def test_values_out_of_range_are_refused_by_name():
    for decay in (-0.1, 1.0):
        with pytest.raises(UserError, match="decay"):
            ConstantAverage(decay)
    with pytest.raises(UserError, match="gamma"):
        PowerAverage(0.0)
