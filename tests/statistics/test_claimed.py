import math

from framework.statistics.claimed import direction_verdicts, diverged_p


def test_a_direction_needs_its_corrected_p_value():
    words = direction_verdicts([1, 1, -1, 1], [1, -1, -1, 1], [0.01, 0.01, 0.04, 0.06])
    assert words == ["same direction", "opposite direction", "same direction", "cannot tell"]


def test_what_has_no_p_value_or_no_sign_decides_nothing():
    assert direction_verdicts([2.0, 0.0], [1, 1], [math.nan, 0.0]) == ["cannot tell"] * 2


def test_divergence_is_counted():
    assert diverged_p(5, 5, 0, 5) < 0.01
    assert diverged_p(2, 5, 0, 5) > 0.05
    assert diverged_p(0, 5, 0, 5) == 1.0
