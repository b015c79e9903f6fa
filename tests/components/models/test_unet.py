"""The U-Net: its interface, its start, and its tangent."""

import pytest
import torch

from components.initializers import Spectral
from components.models import UNet
from components.modulation_norms import ModulationRMS
from components.normalizations import RMS
from components.second_times import Difference
from components.time_embeddings import Sinusoidal
from framework import UserError
from framework.passes import Inputs, Passes
from framework.protocols import Tangent
from tests.components.building import generators, randomised


def unet(shape=(2, 8, 12), **settings):
    parts = (Sinusoidal, Difference, RMS, ModulationRMS, Spectral())
    return UNet(shape, 3, *parts, hidden_size=8, **settings)


def inputs(dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4, 2, 8, 12, generator=g, dtype=dtype)
    t, s = torch.tensor([[1.0, 0.8, 0.5, 0.3], [0.0, 0.2, 0.5, 0.1]], dtype=dtype)
    return Inputs(x, t, s, torch.arange(4), torch.full((4,), 1.5, dtype=dtype))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_it_gives_images_and_starts_at_zero(levels):
    network = unet(levels=levels)
    network.initialize(generators)
    F = Passes().plain(network, inputs())
    assert F.shape == (4, 2, 8, 12)
    assert not F.any()
    assert all(bool(p.isfinite().all()) for p in network.parameters())


def test_its_tangent_is_that_of_finite_differences():
    network, at, h = randomised(unet().double(), 0), inputs(torch.float64), 1e-6
    one = torch.ones(4, dtype=torch.float64)
    _, dF = Passes().with_tangent(network, at, Tangent(s=one))
    ahead, behind = (network(at.x, at.t, at.s + sign * h, at.c, at.w) for sign in (1, -1))
    torch.testing.assert_close(dF, (ahead - behind) / (2 * h), atol=1e-7, rtol=1e-5)


def test_sizes_that_do_not_halve_are_refused():
    with pytest.raises(UserError, match="8x12 has to be divisible by 8"):
        unet(levels=4)
    with pytest.raises(UserError, match="takes images"):
        unet(shape=(2,))
