"""Time embeddings against their definitions, their precision and their tangents."""

import math

import pytest
import torch

from components.time_embeddings import Fourier, Learned, LogSNR, Sinusoidal
from framework import UserError

ALL = [Sinusoidal, Fourier, Learned, LogSNR]
TIMES = torch.tensor([0.0, 0.1, 0.5, 0.999, 1.0], dtype=torch.float64)


def features(embedding, times):
    """What enters the two linear layers."""
    seen = []
    hook = embedding.projection.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    embedding(times)
    hook.remove()
    return seen[0]


def test_sinusoidal_has_cosines_then_sines_of_the_time_itself():
    found = features(Sinusoidal(8), TIMES)
    assert found.shape == (5, 256)
    for i in (0, 1, 64, 127):
        angle = TIMES * 10_000 ** (-i / 128)
        torch.testing.assert_close(found[:, i], angle.cos())
        torch.testing.assert_close(found[:, 128 + i], angle.sin())


def test_fourier_has_frequencies_of_the_given_spread_that_every_instance_shares():
    embedding = Fourier(8, features=4096, scale=3.0)
    assert float(embedding.frequencies.std()) == pytest.approx(3.0, rel=0.05)
    assert torch.equal(embedding.frequencies, Fourier(16, features=4096, scale=3.0).frequencies)
    found = features(embedding, TIMES)
    angle = 2 * math.pi * TIMES * embedding.frequencies[7]
    torch.testing.assert_close(found[:, 7], angle.cos())
    torch.testing.assert_close(found[:, 2048 + 7], angle.sin())


def test_log_snr_embeds_half_the_log_signal_to_noise_ratio():
    found = features(LogSNR(8, margin=1e-9), TIMES[1:4])
    half_log_snr = torch.log((1 - TIMES[1:4]) / TIMES[1:4])
    torch.testing.assert_close(found[:, 0], half_log_snr.cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:, 128], half_log_snr.sin(), atol=1e-5, rtol=0)


def test_learned_features_are_the_time():
    torch.testing.assert_close(features(Learned(8), TIMES), 2 * TIMES[:, None] - 1)


@pytest.mark.parametrize("embedding", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_follows_the_weights_precision(embedding, dtype):
    made = embedding(8).to(dtype)
    for times in (TIMES, TIMES.float()):
        assert made(times).shape == (5, 8)
        assert made(times).dtype == dtype
        assert bool(made(times).isfinite().all())


@pytest.mark.parametrize("embedding", ALL)
def test_tangents_are_derivatives_also_at_the_ends(embedding):
    torch.manual_seed(0)
    made, h = embedding(8).double(), 1e-6
    _, tangent = torch.func.jvp(made, (TIMES,), (torch.ones_like(TIMES),))
    assert bool(tangent.isfinite().all())
    inside = TIMES[1:-1]
    slope = (made(inside + h) - made(inside - h)) / (2 * h)
    torch.testing.assert_close(tangent[1:-1], slope, atol=1e-6, rtol=1e-5)


def test_low_precision_weights_still_see_precise_times():
    """Cast to bfloat16, 0.5 and 0.501 would be one time; their features are not."""
    embedding = Sinusoidal(8).bfloat16()
    near = features(embedding, torch.tensor([0.5, 0.501]))
    assert not torch.equal(near[0], near[1])


def test_values_out_of_range_are_refused_by_name():
    for embedding in (Sinusoidal, Fourier, LogSNR):
        with pytest.raises(UserError, match="features is 5"):
            embedding(8, features=5)
    with pytest.raises(UserError, match="max_period"):
        Sinusoidal(8, max_period=0.0)
    with pytest.raises(UserError, match="margin"):
        LogSNR(8, margin=0.5)
