"""Initializers: the distribution of each role."""

import math

import pytest
import torch

from components.initializers import Spectral, SpectralTime, XavierUniform
from framework.protocols import Role

ALL = [Spectral, SpectralTime, XavierUniform]


def filled(initializer, role, shape=(192, 128), seed=0, dtype=torch.float32):
    weight = torch.full(shape, float("nan"), dtype=dtype)
    initializer(weight, role, torch.Generator().manual_seed(seed))
    return weight


def largest_singular_value(weight):
    return float(torch.linalg.matrix_norm(weight.flatten(1).double(), 2))


@pytest.mark.parametrize("initializer", [Spectral(), SpectralTime()])
@pytest.mark.parametrize("shape", [(192, 128), (64, 256), (8, 4, 2, 2), (1, 1)])
def test_spectral_linear_layers_have_norm_one_and_the_direction_of_xavier(initializer, shape):
    weight = filled(initializer, Role.LINEAR, shape)
    assert largest_singular_value(weight) == pytest.approx(1, abs=1e-6)
    normal = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    cosine = torch.nn.functional.cosine_similarity(weight.flatten(), normal.flatten(), dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("initializer", [Spectral(), SpectralTime()])
def test_the_patch_embedding_stays_xavier_normal(initializer):
    weight = filled(initializer, Role.PATCH_EMBEDDING)
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (192 + 128)), rel=0.02)


def test_time_embeddings_are_small_normals_or_spectral():
    assert float(filled(Spectral(), Role.TIME_EMBEDDING).std()) == pytest.approx(0.02, rel=0.02)
    spectral = filled(SpectralTime(), Role.TIME_EMBEDDING)
    assert largest_singular_value(spectral) == pytest.approx(1, abs=1e-6)


def test_xavier_uniform_linear_layers_have_its_bound():
    for role in (Role.LINEAR, Role.PATCH_EMBEDDING):
        weight = filled(XavierUniform(), role)
        bound = math.sqrt(6 / (192 + 128))
        assert float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_draws_are_scaled_as_they_always_were():
    drawn = torch.randn(192, 128, generator=torch.Generator().manual_seed(0))
    weight = filled(Spectral(), Role.PATCH_EMBEDDING)
    assert torch.equal(weight, drawn * math.sqrt(2 / (192 + 128)))
    drawn = torch.rand(192, 128, generator=torch.Generator().manual_seed(0))
    weight = filled(XavierUniform(), Role.LINEAR)
    assert torch.equal(weight, (2 * drawn - 1) * math.sqrt(6 / (192 + 128)))


@pytest.mark.parametrize("initializer", ALL)
def test_class_embeddings_are_small_normals_and_outputs_zero(initializer):
    classes = filled(initializer(), Role.CLASS_EMBEDDING)
    assert float(classes.std()) == pytest.approx(0.02, rel=0.02)
    assert torch.equal(filled(initializer(), Role.ZERO), torch.zeros(192, 128))


@pytest.mark.parametrize("initializer", ALL)
@pytest.mark.parametrize("role", list(Role))
def test_a_stream_gives_one_weight_whatever_its_precision(initializer, role):
    once = filled(initializer(), role)
    assert torch.equal(once, filled(initializer(), role))
    wide = filled(initializer(), role, dtype=torch.float64)
    torch.testing.assert_close(once.double(), wide, atol=1e-7, rtol=1e-6)
    if role is not Role.ZERO:
        assert not torch.equal(once, filled(initializer(), role, seed=1))
