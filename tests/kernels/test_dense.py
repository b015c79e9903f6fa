import itertools

import pytest
import torch

import kernels


def tensors(*, dtype=torch.float64, Nq=5, Nk=7):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, n, 4, generator=g, dtype=dtype) for n in (Nq, Nk, Nk, Nq, Nk, Nk)]


@pytest.mark.parametrize("causal", [False, True])
def test_matches_torch(causal):
    q, k, v, *_ = tensors()
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    torch.testing.assert_close(kernels.dense_attention(q, k, v, causal=causal), expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("present", list(itertools.product([True, False], repeat=3)))
def test_formulas_match_torchs_own_jvp(causal, present):
    q, k, v, *tangents = tensors()
    given = [t if there else None for t, there in zip(tangents, present)]
    filled = [torch.zeros_like(t) if g is None else t for t, g in zip(tangents, given)]
    expected = torch.func.jvp(
        lambda q, k, v: kernels.dense_attention(q, k, v, causal=causal), (q, k, v), tuple(filled)
    )
    found = kernels.dense_attention_jvp(q, k, v, *given, causal=causal)
    torch.testing.assert_close(found, expected)


def test_gradcheck_through_the_tangent():
    leaves = [x[:1, :1].requires_grad_() for x in tensors(Nq=3, Nk=2)]
    torch.autograd.gradcheck(kernels.dense_attention_jvp, leaves)


def test_nested_forward_mode_and_vmap():
    q, k, v, tq, *_ = tensors()

    def tangent(q):
        return torch.func.jvp(lambda q: kernels.dense_attention(q, k, v), (q,), (tq,))[1]

    _, second = torch.func.jvp(tangent, (q,), (tq,))
    assert second.abs().max() > 0
    assert torch.vmap(tangent)(q[None]).shape == (1, *q.shape)
