"""The network for points: tangents, initial weights, and what it refuses."""

import pytest
import torch

from components.initializers import Spectral
from components.models import PointMLP
from components.modulation_norms import ModulationRMS
from components.normalizations import RMS
from components.second_times import Difference
from components.time_embeddings import Sinusoidal
from framework import UserError
from framework.evaluator import Evaluator
from framework.protocols import Query, Tangent, has_blocks
from tests.components.building import SlowEvaluator, finite_difference, generators, randomised


def network(shape=(2,)):
    parts = (Sinusoidal, Difference, RMS, ModulationRMS, Spectral())
    return PointMLP(shape, 3, *parts, hidden_size=16, depth=2).double()


def query():
    g = torch.Generator().manual_seed(0)
    x, dx = torch.randn(2, 5, 2, generator=g, dtype=torch.float64)
    s, gap, w = torch.rand(3, 5, generator=g, dtype=torch.float64)
    tangent = Tangent(x=dx, s=torch.ones_like(s))
    return Query(x, s + (1 - s) * gap, s, torch.arange(5) % 4, 1 + w, tangent=tangent)


def test_tangents_are_derivatives():
    model, q = randomised(network(), 0), query()
    assert has_blocks(model)
    (result,), (slow,) = Evaluator(model)(q), SlowEvaluator(model)(q)
    torch.testing.assert_close((result.F, result.dF), (slow.F, slow.dF))
    torch.testing.assert_close(result.dF, finite_difference(model, q, 1e-6), atol=1e-6, rtol=1e-5)


def test_it_starts_at_zero():
    model, q = network(), query()
    model.initialize(generators)
    F = model(q.x, q.t, q.s, q.c, q.w)
    assert torch.equal(F, torch.zeros_like(q.x))
    assert float(model.point_embedding.weight.detach().std()) > 0


def test_images_are_refused():
    with pytest.raises(UserError, match="points"):
        network((1, 8, 8))
