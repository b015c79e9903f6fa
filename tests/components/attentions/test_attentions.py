"""Attention against its definition, with and without tangents."""

import math

import pytest
import torch

from components.attentions import SDPA, Auto, Dense, FlashJVP
from framework import UserError

SHAPE = (2, 3, 5, 4)


def qkv(seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(3, *SHAPE, generator=g, dtype=torch.float64))


def slow(q, k, v):
    """The definition, one row at a time."""
    out = torch.empty_like(q)
    for b in range(SHAPE[0]):
        for h in range(SHAPE[1]):
            for n in range(SHAPE[2]):
                logits = torch.stack([q[b, h, n] @ row / math.sqrt(SHAPE[3]) for row in k[b, h]])
                weights = logits.exp() / logits.exp().sum()
                out[b, h, n] = weights @ v[b, h]
    return out


@pytest.mark.parametrize("attention", [Dense(), Auto(), SDPA()])
def test_values(attention):
    torch.testing.assert_close(attention(*qkv()), slow(*qkv()))


@pytest.mark.parametrize("attention", [Dense(), Auto()])
def test_tangents_are_derivatives(attention):
    inputs, directions, h = qkv(), qkv(1), 1e-6
    _, tangent = torch.func.jvp(attention, inputs, directions)
    ahead, behind = (
        attention(*(x + sign * h * d for x, d in zip(inputs, directions, strict=True)))
        for sign in (1, -1)
    )
    torch.testing.assert_close(tangent, (ahead - behind) / (2 * h), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("moving", [0, 1, 2])
def test_sdpa_refuses_a_tangent_rather_than_lose_it(moving):
    inputs = list(qkv())

    def of_one(x):
        return SDPA()(*(x if i == moving else y for i, y in enumerate(inputs)))

    with pytest.raises(RuntimeError, match=r"attentions\.dense"):
        torch.func.jvp(of_one, (inputs[moving],), (inputs[moving],))


def test_sdpa_compiles():
    compiled = torch.compile(SDPA(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*qkv()), slow(*qkv()))


def test_flash_jvp_refuses_a_cpu_and_says_what_to_use():
    with pytest.raises((ValueError, TypeError), match="use the dense backend"):
        FlashJVP()(*(x.float() for x in qkv()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("attention", [FlashJVP(), Auto()])
def test_fused_values_and_tangents_are_the_dense_ones(attention):
    inputs, directions = (tuple(x.float().cuda() for x in qkv(seed)) for seed in (0, 1))
    found = torch.func.jvp(attention, inputs, directions)
    expected = torch.func.jvp(Dense(), inputs, directions)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_without_triton_auto_is_dense_and_flash_jvp_says_why(monkeypatch):
    for module in ("auto", "flash_jvp"):
        monkeypatch.setattr(f"components.attentions.{module}.find_spec", lambda name: None)
    torch.testing.assert_close(Auto()(*qkv()), Dense()(*qkv()))
    with pytest.raises(UserError, match="triton"):
        FlashJVP()
