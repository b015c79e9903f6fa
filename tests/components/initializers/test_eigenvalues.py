"""The largest eigenvalue by products is the solver's, to more than a weight's precision."""

import pytest
import torch

from components.initializers import Spectral
from components.initializers.eigenvalues import by_products
from framework.protocols import Role


def gram_of(eigenvalues, seed=0):
    """Return a symmetric matrix of these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    vectors = torch.randn(size, size, generator=generator, dtype=torch.float64)
    q = torch.linalg.qr(vectors).Q
    return q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ q.T


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(1, 1), (48, 48), (96, 384)])
def test_random_matrices(shape, seed):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()
    gram = matrix @ matrix.T
    solved = torch.linalg.eigvalsh(gram)[-1]
    torch.testing.assert_close(by_products(gram), solved, rtol=1e-13, atol=0)


@pytest.mark.parametrize("distance", [0.0, 1e-8, 1e-7, 1e-6, 1e-3])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_two_that_lie_close(distance, scale):
    gram = scale * gram_of([0.0, 0.3, 1 - distance, 1.0])
    assert float(by_products(gram)) == pytest.approx(scale, rel=3e-8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("shape", [(384, 384), (768, 3072), (3456, 1152)])
def test_a_weight_is_the_same_on_a_gpu(shape):
    here, there = torch.empty(shape), torch.empty(shape, device="cuda")
    for weight in (here, there):
        Spectral()(weight, Role.LINEAR, torch.Generator().manual_seed(1))
    assert torch.equal(here, there.cpu())
