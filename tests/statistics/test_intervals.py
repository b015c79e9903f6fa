import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from framework.statistics import bootstrap_interval, holm, paired_interval, t_interval


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_t_interval_is_scipys(n, confidence):
    values = np.random.default_rng(n).normal(0.3, 1.0, size=(7, n))
    estimate = t_interval(values, confidence)
    reference = stats.ttest_1samp(values, 0.0, axis=1)
    bounds = reference.confidence_interval(confidence)
    np.testing.assert_allclose(estimate.p, reference.pvalue, rtol=1e-12)
    np.testing.assert_allclose(estimate.low, bounds.low, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(estimate.high, bounds.high, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(estimate.sd, values.std(axis=1, ddof=1), rtol=1e-12)


def test_missing_values_are_left_out_of_their_own_row_only():
    values = np.array([[1.0, 2.0, np.nan, 4.0], [1.0, 2.0, 3.0, 4.0]])
    estimate = t_interval(values)
    alone = t_interval(np.array([1.0, 2.0, 4.0]))
    assert estimate.n.tolist() == [3, 4]
    np.testing.assert_allclose([estimate.low[0], estimate.p[0]], [alone.low, alone.p])


def test_too_few_values_give_no_interval():
    estimate = t_interval(np.array([[np.nan, np.nan], [2.0, np.nan]]))
    assert np.isnan(estimate.mean[0])
    assert estimate.mean[1] == 2.0
    assert np.isnan(estimate.low).all() and np.isnan(estimate.p).all()


def test_equal_values_have_no_interval_and_rounding_is_not_noise():
    estimate = t_interval(np.array([[0.1 + 0.2, 0.3, 0.3], [0.0, 0.0, 0.0]]))
    assert np.isnan([estimate.p[0], estimate.low[0], estimate.high[0]]).all()
    assert (estimate.p[1], estimate.low[1], estimate.high[1]) == (1.0, 0.0, 0.0)


def test_rounding_of_the_scores_is_no_noise_of_their_differences():
    arm, other = np.array([3.1, 4.1, 5.7]), np.array([3.0, 4.0, 5.6])
    assert np.ptp(arm - other) > 0, "binary fractions differ in their last digits"
    assert np.isnan(paired_interval(arm, other).p)
    steps = np.random.default_rng(0).integers(0, 1000, size=(1000, 3))
    coarse = paired_interval((steps + 37) / 1000, steps / 1000)
    assert np.isnan(coarse.p).all() and np.isnan(coarse.low).all() and (coarse.sd == 0).all()


def test_scores_equal_up_to_rounding_are_equal():
    estimate = paired_interval([0.1 + 0.2, 0.5, 0.7], [0.3, 0.5, 0.7])
    assert (estimate.mean, estimate.low, estimate.high, estimate.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_missing_seed_has_no_say_in_the_rounding():
    arms, others = [1.0, 1.0 + 1e-12, np.nan], [0.0, 0.0, 1e9]
    assert paired_interval(arms, others).sd > 0


def test_confidence_out_of_range():
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_interval([1.0, 2.0], confidence=95)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_t_interval_covers_the_truth(n):
    draw = np.random.default_rng(n)
    shared, truth = draw.normal(size=(20_000, n)), 0.7
    baseline = shared + 0.5 * draw.normal(size=shared.shape)
    arm = shared + truth + 0.5 * draw.normal(size=shared.shape)
    estimate = t_interval(arm - baseline)
    coverage = np.mean((estimate.low <= truth) & (truth <= estimate.high))
    assert 0.93 <= coverage <= 0.97


@pytest.mark.parametrize("n", [8, 16])
def test_bootstrap_covers_the_truth(n):
    values = np.random.default_rng(n).normal(size=(2_000, n))
    low, high = bootstrap_interval(values, resamples=2_000)
    assert 0.93 <= np.mean((low <= 0) & (high >= 0)) <= 0.97


def test_bootstrap_is_scipys_percentile_method():
    values = np.random.default_rng(1).gamma(2.0, size=12)
    low, high = bootstrap_interval(values, resamples=100_000, expanded=False)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=100_000, method="percentile", rng=0
    ).confidence_interval
    np.testing.assert_allclose([low[0], high[0]], [reference.low, reference.high], atol=0.01)


def test_bootstrap_is_deterministic_and_asks_for_enough_seeds():
    values = np.random.default_rng(1).normal(size=(3, 9))
    values[1, :2] = np.nan
    first, again = bootstrap_interval(values), bootstrap_interval(values)
    np.testing.assert_array_equal(first[0], again[0])
    assert np.isnan(first[0]).tolist() == [False, True, False]
    alone = bootstrap_interval(values[2])
    np.testing.assert_allclose([first[0][2], first[1][2]], [alone[0][0], alone[1][0]], rtol=1e-12)


def test_holm_by_hand():
    np.testing.assert_allclose(
        holm([0.01, 0.04, 0.03, 0.005, np.nan]), [0.03, 0.06, 0.06, 0.02, np.nan]
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_definition(values):
    p = np.array(values)
    adjusted = holm(p)
    order = np.argsort(p, kind="stable")
    running = 0.0
    for k, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - k) * p[index]))
        assert adjusted[index] == pytest.approx(running)
    assert np.all(adjusted >= p)


def test_holm_keeps_false_alarms_of_a_whole_grid_at_the_level():
    draw = np.random.default_rng(0)
    grids, arms, seeds = 2_000, 8, 4
    values = draw.normal(size=(grids, arms, seeds))
    p = t_interval(values[:, 1:] - values[:, :1]).p
    alarms = np.mean([holm(row).min() < 0.05 for row in p])
    assert alarms <= 0.055
