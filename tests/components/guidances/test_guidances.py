"""Guidances: their distributions, dropped labels, and their ranges."""

import pytest
import torch
from scipy import stats

from components.guidances import ConstantGuidance, NoGuidance, RandomBeta, RandomW, UniformBeta
from framework import UserError

LABELS = torch.arange(20_000) % 10
EMPTY = 10


def conditions(guidance, seed=0):
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(len(LABELS), 2, generator=g, dtype=torch.float64)
    return guidance(LABELS, EMPTY, u)


ALL = [ConstantGuidance, NoGuidance, RandomBeta, RandomW, UniformBeta]


@pytest.mark.parametrize("guidance", ALL)
def test_a_dropped_label_is_empty_and_has_weight_one(guidance):
    drawn = conditions(guidance(label_dropout=0.25))
    dropped = drawn.c == EMPTY
    assert float(dropped.double().mean()) == pytest.approx(0.25, abs=0.01)
    assert torch.equal(drawn.w[dropped], torch.ones(int(dropped.sum())))
    assert torch.equal(drawn.c[~dropped], LABELS[~dropped])
    assert drawn.w.dtype == torch.float32
    assert drawn.c.dtype == torch.int64


@pytest.mark.parametrize("guidance", ALL)
def test_dropout_reaches_both_ends(guidance):
    assert not bool((conditions(guidance(label_dropout=0.0)).c == EMPTY).any())
    assert bool((conditions(guidance(label_dropout=1.0)).c == EMPTY).all())


def test_the_constant_weight_is_the_one_to_sample_with():
    guidance = ConstantGuidance(1.75, label_dropout=0.0)
    assert guidance.weight == 1.75
    assert torch.equal(conditions(guidance).w, torch.full((len(LABELS),), 1.75))
    assert NoGuidance().weight == 1.0


@pytest.mark.parametrize(
    ("guidance", "of", "distribution"),
    [
        (RandomBeta(1.25, 4.0, 0.0), torch.reciprocal, stats.uniform(0.25, 0.55)),
        (RandomW(1.25, 4.0, 0.0), torch.clone, stats.uniform(1.25, 2.75)),
        (UniformBeta(0.0), torch.reciprocal, stats.uniform(0, 1)),
    ],
    ids=["random_beta", "random_w", "uniform_beta"],
)
def test_random_weights_have_their_distribution(guidance, of, distribution):
    assert guidance.weight is None
    assert stats.kstest(of(conditions(guidance).w).numpy(), distribution.cdf).pvalue > 0.01


def test_weights_stay_finite_at_the_ends_of_the_uniforms():
    u = torch.tensor([[0.0, 0.5], [5e-324, 0.5], [1.0, 0.5]], dtype=torch.float64)
    for guidance in (UniformBeta(), RandomBeta(), RandomW()):
        w = guidance(LABELS[:3], EMPTY, u).w
        assert bool(w.isfinite().all())
        assert bool((1 / w.square()).isfinite().all())


def test_values_out_of_range_are_refused_by_name():
    with pytest.raises(UserError, match="weight"):
        ConstantGuidance(0.0)
    with pytest.raises(UserError, match="label_dropout"):
        NoGuidance(label_dropout=-0.1)
    for guidance in (RandomBeta, RandomW):
        with pytest.raises(UserError, match="w_min is 3"):
            guidance(3.0, 2.0)
