"""Time samplers: their order to the last bit, their distributions, and their shared draws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from components.time_samplers import Clamp, Gap, GapStar, Trunc, Uniform
from framework import UserError

ENDS = [0.0, 5e-324, 1e-300, 1e-16, 0.5, 1 - 1e-16, 1.0]
SAMPLERS = [Gap, GapStar, Trunc, Clamp]


def uniforms(count, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(count, 4, generator=g, dtype=torch.float64)


def assert_ordered(times):
    for dtype in (torch.float32, torch.bfloat16):
        t, s, v = (x.to(dtype) for x in (times.t, times.s, times.s_velocity))
        assert bool(((s >= 0) & (s <= t) & (t <= 1)).all())  # also false for NaN
        assert bool(((v >= 0) & (v <= 1)).all())
    assert times.t.dtype == times.s.dtype == times.s_velocity.dtype == torch.float32


@pytest.mark.parametrize("sampler", SAMPLERS)
@settings(max_examples=40, deadline=None)
@given(
    mean=st.floats(-8, 8),
    std=st.floats(0.05, 6),
    s_mean=st.floats(-8, 8),
    s_std=st.floats(0.05, 6),
    share=st.floats(0, 1),
)
def test_times_are_in_order_to_the_last_bit(sampler, mean, std, s_mean, s_std, share):
    u = torch.cartesian_prod(*[torch.tensor(ENDS, dtype=torch.float64)] * 4)
    u = torch.cat([u, uniforms(512)])
    assert_ordered(sampler(mean, std, s_mean, s_std, share)(u))


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1))
def test_uniform_times_are_in_order(share):
    u = torch.cartesian_prod(*[torch.tensor(ENDS, dtype=torch.float64)] * 4)
    assert_ordered(Uniform(share)(u))


def logit_normal(mean, std):
    return stats.norm(mean, std)


def logit(x):
    return torch.logit(x.double()).numpy()


def test_gap_draws_the_gap_and_then_the_truncated_end():
    u = uniforms(20_000)
    times = Gap(-0.8, 1.2, -0.4, 0.7)(u)
    gap = torch.sigmoid(-0.8 + 1.2 * torch.special.ndtri(u[:, 0]))
    torch.testing.assert_close(times.t - times.s, gap.float(), atol=1e-6, rtol=0)
    # Given the gap, the end's distribution function at its value is uniform.
    below = logit_normal(-0.4, 0.7).cdf(logit(times.s))
    bound = logit_normal(-0.4, 0.7).cdf(logit(1 - gap))
    assert stats.kstest(below / bound, "uniform").pvalue > 0.01
    assert torch.equal(times.s, times.s_velocity)


def test_gap_star_is_gap_with_an_independent_velocity_time():
    u = uniforms(20_000)
    star, gap = GapStar(-0.8, 1.2, -0.4, 0.7)(u), Gap(-0.8, 1.2, -0.4, 0.7)(u)
    assert torch.equal(star.t, gap.t)
    assert torch.equal(star.s, gap.s)
    assert stats.kstest(logit(star.s_velocity), logit_normal(-0.4, 0.7).cdf).pvalue > 0.01
    assert abs(stats.spearmanr(star.s_velocity, star.s).statistic) < 0.03


def test_trunc_draws_the_start_and_then_the_truncated_end():
    times = Trunc(1.0, 0.8, -0.4, 1.5)(uniforms(20_000))
    assert stats.kstest(logit(times.t), logit_normal(1.0, 0.8).cdf).pvalue > 0.01
    end = logit_normal(-0.4, 1.5)
    assert stats.kstest(end.cdf(logit(times.s)) / end.cdf(logit(times.t)), "uniform").pvalue > 0.01


def test_clamp_moves_only_the_ends_that_come_after_the_start():
    u = uniforms(20_000)
    times = Clamp(1.0, 0.8, -0.4, 1.5)(u)
    free = torch.sigmoid(-0.4 + 1.5 * torch.special.ndtri(u[:, 1])).float()
    assert stats.kstest(logit(times.t), logit_normal(1.0, 0.8).cdf).pvalue > 0.01
    assert torch.equal(times.s, torch.minimum(free, times.t))
    # The share of t = s is that of one normal exceeding another.
    expected = stats.norm.sf((1.0 + 0.4) / math.hypot(0.8, 1.5))
    assert float((times.s == times.t).double().mean()) == pytest.approx(expected, abs=0.01)


def test_uniform_sorts_two_uniform_times():
    times = Uniform()(uniforms(20_000))
    assert stats.kstest(times.t.numpy(), stats.beta(2, 1).cdf).pvalue > 0.01
    assert stats.kstest(times.s.numpy(), stats.beta(1, 2).cdf).pvalue > 0.01


@pytest.mark.parametrize("sampler", [Gap, GapStar, Trunc, Clamp, Uniform])
def test_a_share_of_samples_has_equal_times_and_keeps_the_end(sampler):
    u = uniforms(20_000)
    free, shared = sampler()(u), sampler(equal_share=0.3)(u)
    chosen = u[:, 3] < 0.3
    assert torch.equal(shared.s, free.s)
    assert torch.equal(shared.t, torch.where(chosen, free.s, free.t))
    assert float(chosen.double().mean()) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(sampler(equal_share=1.0)(u).t, free.s)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("std", [-1.0, 0.0, math.nan, math.inf])
def test_a_deviation_out_of_range_is_refused_by_name(sampler, std):
    with pytest.raises(UserError, match="s_std"):
        sampler(s_std=std)
    with pytest.raises(UserError, match="equal_share"):
        sampler(equal_share=1.5)
