import itertools

import pytest
import torch
from torch.autograd import forward_ad

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


def test_reverse_mode_over_forward_ad_is_that_over_func_jvp():
    q, k, v, tq, *_ = tensors()

    def gradient(to):
        return torch.autograd.grad(to.sin().sum(), q)[0]

    def attend(q):
        return kernels.attention(q, k, v, causal=True)

    q.requires_grad_()
    with forward_ad.dual_level():
        found = gradient(forward_ad.unpack_dual(attend(forward_ad.make_dual(q, tq))).tangent)
    torch.testing.assert_close(found, gradient(torch.func.jvp(attend, (q,), (tq,))[1]))


def test_a_learned_scale_is_refused():
    q, k, v, *_ = tensors()
    with pytest.raises(TypeError, match="multiply q by one that is learned"):
        kernels.dense_attention(q, k, v, scale=torch.tensor(0.5, requires_grad=True))
