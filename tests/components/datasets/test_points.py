"""Datasets in the plane: their distributions, and the mixture's exact velocity and flow."""

import pytest
import torch
from scipy import stats

from components.datasets import Checkerboard, GaussianMixture, Spirals
from framework import UserError

ALL = [Checkerboard, GaussianMixture, Spirals]


def uniforms(count, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, generator=g, dtype=torch.float64)


def points(dataset, count=20_000, seed=0):
    return dataset.examples(torch.arange(count) % len(dataset), uniforms(count, seed))


@pytest.mark.parametrize("kind", ALL)
def test_draws_are_fresh_labelled_and_of_unit_scale(kind):
    dataset = kind()
    examples = points(dataset)
    assert examples.x.shape == (20_000, *dataset.shape)
    assert examples.x.dtype == torch.float32
    assert torch.equal(examples.labels[: len(dataset)], dataset.labels())
    assert not torch.equal(points(dataset, seed=1).x, examples.x)
    assert torch.equal(points(dataset).x, examples.x)
    assert set(examples.labels.tolist()) == set(range(dataset.num_classes))
    assert examples.x.std(dim=0).tolist() == pytest.approx([1, 1], abs=0.15)
    pictures = dataset.images(torch.cat([examples.x[:5], torch.tensor([[float("nan"), 99.0]])]))
    assert pictures.shape == (6, 32, 32, 1)
    assert (pictures == 255).sum(dim=(1, 2, 3)).tolist() == [1] * 6
    assert len(dataset.held_out().labels) == 0


def test_a_picture_has_its_first_coordinate_to_the_right_and_the_second_up():
    picture = GaussianMixture().images(torch.tensor([[2.9, -2.9]]))[0, ..., 0]
    assert picture.nonzero().tolist() == [[31, 31]]


def test_checkerboard_fills_its_dark_cells_evenly():
    dataset = Checkerboard(cells=4)
    examples = points(dataset)
    board = (examples.x.double() / dataset.half_width + 1) * 2  # in [0, 4]²
    cell = board.floor().clamp(0, 3).long()
    assert bool(((cell.sum(dim=1) % 2) == 0).all())
    assert torch.equal(cell[:, 1], examples.labels)
    counts = torch.bincount(cell[:, 0] * 4 + cell[:, 1], minlength=16)
    assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 0.01
    assert int((counts > 0).sum()) == 8
    with pytest.raises(UserError, match="cells is 3"):
        Checkerboard(cells=3)


def test_spirals_keep_to_their_arms():
    dataset = Spirals(arms=3, noise=0.0)
    examples = points(dataset)
    along = examples.x.double().norm(dim=1) / 2
    angle = torch.atan2(examples.x[:, 1], examples.x[:, 0]).double() / (2 * torch.pi)
    off = angle - 1.5 * along - examples.labels / 3
    torch.testing.assert_close(off, off.round(), atol=1e-5, rtol=0)


T = torch.tensor([0.05, 0.3, 0.8, 1.0], dtype=torch.float64)


def test_the_mixtures_velocity_is_the_mean_of_the_conditional_ones():
    """By importance sampling: E[x1 - x0 | x_t] over draws of x0, x1 = (x_t - (1 - t) x0) / t."""
    dataset = GaussianMixture(components=3, radius=1.0, std=0.4)
    x0 = points(dataset, 300_000).x.double()
    x = torch.tensor([[0.5, 0.2], [0.1, -0.4], [0.7, 0.3], [1.5, -1.0]]).double()
    times = torch.tensor([0.4, 0.6, 0.8, 1.0], dtype=torch.float64)
    expected = []
    for point, t in zip(x, times, strict=True):
        x1 = (point - (1 - t) * x0) / t
        weights = (-x1.square().sum(dim=1) / 2).softmax(dim=0)
        expected.append((weights[:, None] * (x1 - x0)).sum(dim=0))
    found = dataset.velocity(x, times, torch.full((4,), 3))
    torch.testing.assert_close(found, torch.stack(expected), atol=0.02, rtol=0)


def test_a_classs_velocity_and_flow_are_those_of_one_gaussian():
    dataset = GaussianMixture(components=4, std=0.3)
    x, c = uniforms(4) * 2 - 1, torch.arange(4)
    s = T / 2
    mean, v_t, v_s = dataset.means[c], (1 - T) ** 2 * 0.09 + T**2, (1 - s) ** 2 * 0.09 + s**2
    kept = (x - (1 - T)[:, None] * mean) / v_t.sqrt()[:, None]
    expected = (1 - s)[:, None] * mean + v_s.sqrt()[:, None] * kept
    torch.testing.assert_close(dataset.flow(x, T, s, c, 60), expected, atol=1e-5, rtol=1e-5)
    h = 1e-5
    slope = (dataset.flow(x, T, T + h, c, 1) - dataset.flow(x, T, T - h, c, 1)) / (2 * h)
    torch.testing.assert_close(dataset.velocity(x, T, c), slope, atol=1e-6, rtol=1e-6)


def test_the_mixtures_flow_carries_noise_to_data():
    dataset = GaussianMixture(components=2, radius=1.0, std=0.3)
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 2, generator=g, dtype=torch.float64)
    one, empty = torch.ones(4000), torch.full((4000,), 2)
    x = dataset.flow(noise, one, 0 * one, empty, steps=50)
    for axis in (0, 1):
        data = points(dataset, 4000, seed=2).x[:, axis]
        assert stats.ks_2samp(x[:, axis], data.double()).pvalue > 0.01


def test_values_out_of_range_are_refused_by_name():
    for options, message in (({"std": 0.0}, "std"), ({"radius": -1.0}, "radius")):
        with pytest.raises(UserError, match=message):
            GaussianMixture(**options)
    with pytest.raises(UserError, match="turns"):
        Spirals(turns=0.0)
