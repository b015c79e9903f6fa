"""Normalisations of tokens, of modulation and of queries and keys against their definitions."""

import math

import pytest
import torch
from torch.nn import functional

from components.modulation_norms import ModulationRMS, NoModulationNorm
from components.normalizations import RMS, DynamicTanh, LayerNorm, NoNormalization, RMSScaled
from components.qk_norms import L2, QKRMS, NoQKNorm
from framework import UserError

ALL = [
    *(RMS, RMSScaled, LayerNorm, DynamicTanh, NoNormalization),
    *(ModulationRMS, NoModulationNorm, QKRMS, L2, NoQKNorm),
]


def data(dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 5, 8, generator=g, dtype=torch.float64).to(dtype) * 3 + 1


@pytest.mark.parametrize("norm", [RMS, RMSScaled, ModulationRMS, QKRMS])
def test_rms_has_epsilon_inside_the_root(norm):
    x = data()
    expected = x / (x.square().mean(-1, keepdim=True) + 0.5).sqrt()
    torch.testing.assert_close(norm(8, eps=0.5).double()(x), expected)
    torch.testing.assert_close(norm(8).double()(x), functional.rms_norm(x, (8,), eps=1e-6))


@pytest.mark.parametrize("norm", [RMS, ModulationRMS])
def test_zero_stays_zero_and_epsilon_sets_its_slope(norm):
    zero = torch.zeros(2, 8, dtype=torch.float64)
    value, slope = torch.func.jvp(norm(8), (zero,), (torch.ones_like(zero),))
    assert torch.equal(value, zero)
    torch.testing.assert_close(slope, torch.full_like(zero, 1e3))
    assert not list(norm(8).parameters())


def test_layer_norm_is_torchs():
    x = data()
    torch.testing.assert_close(LayerNorm(8)(x), functional.layer_norm(x, (8,), eps=1e-6))


def test_dynamic_tanh():
    norm, x = DynamicTanh(8, alpha=0.7).double(), data()
    torch.testing.assert_close(norm(x), torch.tanh(norm.alpha.detach() * x))
    with torch.no_grad():
        norm.scale.mul_(2)
        norm.bias.add_(1)
    torch.testing.assert_close(norm(x), 2 * torch.tanh(norm.alpha.detach() * x) + 1)


@pytest.mark.parametrize("norm", [RMSScaled, QKRMS])
def test_the_scale_is_learned_and_starts_at_one(norm):
    made, x = norm(8).double(), data()
    plain = made(x)
    with torch.no_grad():
        made.scale.copy_(torch.arange(8))
    torch.testing.assert_close(made(x), plain * torch.arange(8))
    made.reset_parameters()
    torch.testing.assert_close(made(x), plain)


def test_l2_gives_logits_of_cosines():
    norm, q, k = L2(8, temperature=5.0, eps=1e-12).double(), data(), data().flip(-1)
    logits = norm(q) @ norm(k).transpose(-1, -2) / math.sqrt(8)
    cosines = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-1, -2)
    torch.testing.assert_close(logits, 5 * cosines, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("norm", [NoNormalization, NoModulationNorm, NoQKNorm])
def test_none_changes_nothing(norm):
    x = data()
    assert norm(8)(x) is x


@pytest.mark.parametrize("norm", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_precision_are_kept(norm, dtype):
    x = data(dtype)
    y = norm(8)(x)
    assert y.shape == x.shape
    assert y.dtype == dtype


@pytest.mark.parametrize("norm", ALL)
def test_tangents_are_derivatives(norm):
    x, made, h = data(), norm(8).double(), 1e-6
    direction = torch.cos(x)
    _, tangent = torch.func.jvp(made, (x,), (direction,))
    slope = (made(x + h * direction) - made(x - h * direction)) / (2 * h)
    torch.testing.assert_close(tangent, slope, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("norm", [RMS, RMSScaled, LayerNorm, ModulationRMS, QKRMS, L2])
def test_epsilon_has_to_be_positive(norm):
    with pytest.raises(UserError, match="eps is 0"):
        norm(8, eps=0.0)
