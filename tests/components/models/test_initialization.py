"""Layers that are not of this project start from their streams too."""

import torch
from torch import nn

from components.initializers import Spectral
from components.models.initialization import initialize


def streams(name):
    return torch.Generator().manual_seed(sum(map(ord, name)))


def test_other_layers_of_torch_start_from_streams_and_disturb_no_other_draw():
    first, second = (nn.Sequential(nn.Conv1d(3, 4, 2), nn.Conv1d(4, 4, 2)) for _ in range(2))
    initialize(first, Spectral(), streams)
    torch.rand(1)
    state = torch.random.get_rng_state()
    initialize(second, Spectral(), streams)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert not torch.equal(first[0].weight.flatten()[:16], first[1].weight.flatten()[:16])
