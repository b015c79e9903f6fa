"""What several tests of training stand on."""

import pytest
from torch import nn

from framework import register
from tests.framework.training.plane import trained
from tests.registered import registry_kept


@pytest.fixture
def plugged():
    """Room for components that go with the test."""
    with registry_kept():
        yield


@pytest.fixture
def dropping(plugged, tmp_path):
    """The folder of a run whose network drops numbers in training."""

    @register.normalization("dropping")
    class Dropping(nn.Dropout):
        def __init__(self, dim):
            super().__init__()

    return trained(tmp_path / "run", "models.mlp.normalization = @normalizations.dropping")
