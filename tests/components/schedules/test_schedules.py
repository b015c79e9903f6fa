"""Learning-rate factors at the steps where something happens."""

import pytest

from components.schedules import ConstantRate, Cosine, Warmup
from framework import UserError


def test_constant():
    assert {ConstantRate()(step, 10) for step in range(1, 11)} == {1.0}


def test_warmup_rises_and_stays():
    schedule = Warmup(4)
    assert [schedule(step, 10) for step in range(1, 7)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert Warmup(0)(1, 10) == 1.0


def test_cosine_rises_falls_and_ends_at_its_final_value():
    schedule = Cosine(warmup_steps=2, final=0.1)
    factors = [schedule(step, 10) for step in range(1, 11)]
    assert factors[:2] == [0.5, 1.0]
    assert factors[5] == pytest.approx(0.55)
    assert factors[9] == pytest.approx(0.1)
    assert factors[1:] == sorted(factors[1:], reverse=True)
    assert Cosine()(1, 1) == pytest.approx(0.0)


def test_values_out_of_range_are_refused_by_name():
    with pytest.raises(UserError, match="warmup_steps"):
        Warmup(-1)
    with pytest.raises(UserError, match="final"):
        Cosine(final=2.0)
