"""What the kernels of norms refuse, and in which words."""

import pytest
import torch

from kernels.errors import check_fused
from kernels.head_norm import head_norm
from kernels.modulated_norm import modulated_norm


@pytest.mark.parametrize(
    ("refused", "error", "words"),
    [
        (lambda x, v: (x[0], v), ValueError, "x has shape .4, 8., and needs three axes"),
        (lambda x, v: (x.double(), v), TypeError, "x is torch.float64"),
        (lambda x, v: (x, v), ValueError, "x is on cpu"),
    ],
)
def test_modulated_norm(refused, error, words):
    x, vectors = refused(torch.zeros(2, 4, 8), torch.zeros(2, 2, 8))
    with pytest.raises(error, match=words):
        modulated_norm(x, vectors, 1e-6, torch.float32)


def test_modulated_norm_gives_floating_point_numbers():
    with pytest.raises(TypeError, match=r"dtype is torch.int32"):
        modulated_norm(torch.zeros(2, 4, 8), torch.zeros(2, 2, 8), 1e-6, torch.int32)


def test_head_norm():
    with pytest.raises(ValueError, match=r"and needs .B, N, 3 x 0 heads"):
        head_norm(torch.zeros(2, 4, 24), torch.ones(4), torch.ones(4), 0, 1e-6)
    with pytest.raises(ValueError, match=r"qkv has shape .2, 4, 25., and needs"):
        head_norm(torch.zeros(2, 4, 25), torch.ones(4), torch.ones(4), 2, 1e-6)


def test_shapes_and_lengths():
    x = torch.zeros(2, 4, 8)
    with pytest.raises(ValueError, match=r"branch has shape .2, 4, 8., and needs .2, 5, 8."):
        check_fused({"branch": (x, (2, 5, 8))}, 8, 16, interpreted=True)
    with pytest.raises(ValueError, match="up to 4 numbers together, not 8"):
        check_fused({"x": (x, (2, 4, 8))}, 8, 4, interpreted=True)
