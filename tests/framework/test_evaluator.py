"""The evaluator against torch.func.jvp over the whole network, in float64."""

import pytest
import torch
from torch import nn

from framework.evaluator import Evaluator
from framework.protocols import Query, Tangent


class Blocks(nn.Module):
    """A small block model: every input reaches the output non-linearly."""

    def __init__(self):
        super().__init__()
        self.inward = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(nn.Bilinear(4, 4, 4) for _ in range(2))
        self.outward = nn.Linear(4, 3)

    def embed(self, x, t, s, c, w):
        condition = torch.stack([t, s * t, c.to(x.dtype), w], dim=-1)
        return self.inward(x).tanh(), condition

    def head(self, tokens, condition):
        return self.outward((tokens * condition).sin())

    def forward(self, x, t, s, c, w):
        tokens, condition = self.embed(x, t, s, c, w)
        for block in self.blocks:
            tokens = block(tokens, condition)
        return self.head(tokens, condition)


class Whole(nn.Module):
    """The same network without blocks."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def forward(self, x, t, s, c, w):
        return self.parts(x, t, s, c, w)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Blocks().double()


def arguments(batch, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 3, generator=g, dtype=torch.float64)
    t, s, w = torch.rand(3, batch, generator=g, dtype=torch.float64)
    return x, t, s, torch.arange(batch), w


def tangent_of(arguments, **options):
    x, t, s, _, _ = arguments
    return Tangent(x=x.cos(), t=torch.ones_like(t), s=2 * torch.ones_like(s), **options)


def reference(network, arguments, tangent):
    x, t, s, c, w = arguments
    return torch.func.jvp(
        lambda x, t, s: network(x, t, s, c, w), (x, t, s), (tangent.x, tangent.t, tangent.s)
    )


@pytest.mark.parametrize("kind", [Blocks, Whole])
def test_the_derivative_and_its_gradient_are_those_of_the_whole_network(network, kind):
    model = network if kind is Blocks else Whole(network)
    inputs = arguments(5)
    tangent = tangent_of(inputs)
    (result,) = Evaluator(model)(Query(*inputs, tangent=tangent))
    F, dF = reference(network, inputs, tangent)
    torch.testing.assert_close((result.F, result.dF), (F, dF))
    parameters = list(network.parameters())
    ours = torch.autograd.grad((result.F + result.derivative).square().sum(), parameters)
    theirs = torch.autograd.grad((F + dF).square().sum(), parameters)
    torch.testing.assert_close(ours, theirs)


def test_queries_that_share_a_pass_get_their_own_rows(network):
    first, second, third = arguments(2, 1), arguments(3, 2), arguments(4, 3)
    tangent = tangent_of(second)
    a, b, c = Evaluator(network)(Query(*first), Query(*second, tangent=tangent), Query(*third))
    torch.testing.assert_close(a.F, network(*first))
    torch.testing.assert_close((b.F, b.dF), reference(network, second, tangent))
    torch.testing.assert_close(c.F, network(*third))
    assert a.dF is None


def test_a_detached_derivative_has_the_value_but_no_gradient(network):
    inputs = arguments(5)
    (result,) = Evaluator(network)(Query(*inputs, tangent=tangent_of(inputs, detach=True)))
    torch.testing.assert_close(result.dF, reference(network, inputs, tangent_of(inputs))[1])
    assert result.F.requires_grad
    assert not result.derivative.requires_grad


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("kind", [Blocks, Whole])
def test_passes_in_pairs_have_the_numbers_of_passes_apart(network, kind, detach):
    model = network if kind is Blocks else Whole(network)
    jump, plain, still = arguments(3, 1), arguments(2, 2), arguments(4, 3)
    queries = (
        Query(*plain),
        Query(*jump, tangent=tangent_of(jump, detach=detach)),
        Query(*still, gradient=False),
    )
    evaluate = Evaluator(model)

    def numbers(first, second, third):
        values = (first.F, second.F, second.derivative, third.F)
        loss = sum(value.square().sum() for value in values)
        return *values, *torch.autograd.grad(loss, list(network.parameters()))

    apart = [evaluate(query)[0] for query in queries]
    torch.testing.assert_close(numbers(*evaluate(*queries)), numbers(*apart))


def test_averages_are_evaluated_with_their_own_weights_and_without_gradient(network):
    torch.manual_seed(1)
    average = Blocks().double()
    (result,) = Evaluator(network, {"target": average})(Query(*arguments(2), weights="target"))
    torch.testing.assert_close(result.F, average(*arguments(2)))
    assert not result.F.requires_grad


def test_a_missing_tangent_is_an_error_not_a_zero(network):
    (result,) = Evaluator(network)(Query(*arguments(2)))
    with pytest.raises(ValueError, match="without a tangent"):
        _ = result.derivative
