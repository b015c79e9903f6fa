"""Distances between sets against closed forms and slow versions."""

import itertools
import math

import pytest
import torch

from components.datasets import Digits, GaussianMixture
from components.metrics import (
    FrechetDistance,
    SlicedWasserstein,
    Wasserstein,
    coverage,
    kernel_distance,
)
from components.metrics.coverage import shares
from components.metrics.kernel_distance import squared_mmd
from components.metrics.transport import draws, exact_w2, sliced_w2
from framework import UserError


def cloud(count, size=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=g, dtype=torch.float64)


def test_exact_w2_is_the_best_of_all_assignments():
    a, b = cloud(6), cloud(6, seed=1)
    costs = [(a - b[list(order)]).square().sum() / 6 for order in itertools.permutations(range(6))]
    assert exact_w2(a, b) == pytest.approx(math.sqrt(min(costs)))
    assert exact_w2(a, a.flip(0)) == 0
    assert exact_w2(a, a + torch.tensor([3.0, 4.0])) == pytest.approx(5)


def test_sliced_w2_of_a_shift_is_its_mean_projection():
    a = cloud(50, 3)
    shifted = a + torch.tensor([3.0, 0.0, 0.0])
    assert sliced_w2(a, shifted, 4096) == pytest.approx(3 / math.sqrt(3), rel=0.05)
    assert sliced_w2(a, a.flip(0), 16) == pytest.approx(0, abs=1e-12)


def test_draws_are_the_same_each_time_and_differ_by_stream():
    dataset = GaussianMixture(size=100)
    assert torch.equal(draws(dataset, 250), draws(dataset, 250))
    assert not torch.equal(draws(dataset, 250), draws(dataset, 250, stream=1))
    assert draws(dataset, 250).shape == (250, 2)
    digits = Digits()
    assert len(draws(digits, 1497).unique(dim=0)) > 1490


def test_scores_of_perfect_and_of_shifted_samples():
    dataset = GaussianMixture()
    x = draws(dataset, 300, stream=7)
    labels = torch.zeros(300, dtype=torch.int64)
    w2, floor = Wasserstein(dataset)(x, labels)
    assert (w2.name, floor.name) == ("w2", "w2_floor")
    assert w2.value < 1.5 * floor.value
    far, _ = Wasserstein(dataset)(x + 2, labels)
    assert far.value > 5 * floor.value
    near, moved = (SlicedWasserstein(dataset)(y, labels)[0].value for y in (x, x + 2))
    assert moved > 5 * near


def test_samples_that_are_not_finite_give_nan():
    bad = torch.full((10, 2), float("nan"))
    labels = torch.zeros(10, dtype=torch.int64)
    for metric in (Wasserstein, SlicedWasserstein):
        assert math.isnan(metric(GaussianMixture())(bad, labels)[0].value)


def test_metrics_refuse_data_that_they_cannot_judge():
    with pytest.raises(UserError, match=r"metrics\.wasserstein takes points"):
        Wasserstein(Digits())
    with pytest.raises(UserError, match="judges images"):
        FrechetDistance(GaussianMixture())


def test_squared_mmd_is_its_sum_and_unbiased():
    a, b = cloud(5, 3), cloud(4, 3, seed=1) + 1

    def kernel(x, y):
        return float((x @ y / 3 + 1) ** 3)

    within_a = sum(kernel(x, y) for x, y in itertools.permutations(a, 2)) / 20
    within_b = sum(kernel(x, y) for x, y in itertools.permutations(b, 2)) / 12
    between = sum(kernel(x, y) for x in a for y in b) / 20
    assert squared_mmd(a, b) == pytest.approx(within_a + within_b - 2 * between)
    repeated = [squared_mmd(cloud(50, seed=2 * i), cloud(50, seed=2 * i + 1)) for i in range(200)]
    mean = sum(repeated) / 200
    deviation = math.sqrt(sum((x - mean) ** 2 for x in repeated) / 199 / 200)
    assert abs(mean) < 3 * deviation


def test_shares_by_counting():
    real, fake, k = cloud(30), cloud(20, seed=1) * 0.5 + 0.5, 3

    def reach(points, i):
        return sorted(float((points[i] - other).norm()) for other in points)[k]

    inside = [[float((r - f).norm()) <= reach(real, i) for f in fake] for i, r in enumerate(real)]
    backwards = [
        any(float((r - f).norm()) <= reach(fake, j) for j, f in enumerate(fake)) for r in real
    ]
    found = shares(real, fake, k)
    assert found["precision"] == pytest.approx(sum(map(any, zip(*inside, strict=True))) / 20)
    assert found["recall"] == pytest.approx(sum(backwards) / 30)
    assert found["density"] == pytest.approx(sum(map(sum, inside)) / 20 / k)
    assert found["coverage"] == pytest.approx(sum(map(any, inside)) / 30)


def test_sets_of_any_size_are_compared_in_parts(monkeypatch):
    real, fake = cloud(30), cloud(20, seed=1)
    whole = squared_mmd(real, fake), shares(real, fake, 3)
    for module in (kernel_distance, coverage):
        monkeypatch.setattr(module, "PAIRS", 70)
    assert squared_mmd(real, fake) == pytest.approx(whole[0])
    assert shares(real, fake, 3) == pytest.approx(whole[1])


def test_shares_of_the_same_and_of_distant_sets():
    real = cloud(100)
    same, far = shares(real, real.clone(), 5), shares(real, real + 100, 5)
    assert all(value >= 1 for value in same.values())
    assert set(far.values()) == {0.0}
    with pytest.raises(ValueError, match="more than 5"):
        shares(real, real[:5], 5)
