"""Checks of networks of a user's own in the compiler's hands: see `interpreted.py`."""

import pytest
import torch
from torch import nn

from components.models.activation import tanh_gelu
from components.models.residual import Stream
from components.models.transformer import MLP, Block, Modulation, SelfAttention
from components.modulation_norms.rms import ModulationRMS
from components.normalizations.rms import RMS
from components.qk_norms.rms import QKRMS
from framework.passes import block_jvp
from kernels import flash_attention
from kernels.modulated_norm import modulated_norm
from tests.kernels.lean_compiler import lean
from tests.kernels.norm_checks import EPS, EXACT, error, plain_modulated

SIZE = 24


def block_of(mlp=MLP):
    """A block of seeded weights."""
    g = torch.Generator().manual_seed(0)
    attention = SelfAttention(SIZE, 2, QKRMS, flash_attention)
    block = Block(attention, mlp(SIZE, 32), Modulation(SIZE, 6, ModulationRMS), lambda: RMS(SIZE))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g) / 4)
    return block


def check(block, detached=False):
    """Outputs, tangents and gradients, compiled and not, are the same."""
    g = torch.Generator().manual_seed(1)
    shapes = [(2, 4, SIZE), (2, 4, SIZE), (2, 1, SIZE)] * 2 + [(2, SIZE)] * 2
    given = [torch.randn(s, generator=g).requires_grad_() for s in shapes]
    cotangents = [torch.randn(s, generator=g) for s in shapes[:6]]

    def everything(run):
        pairs = run(block, detached, Stream(*given[:3]), Stream(*given[3:6]), *given[6:])
        outs = [each for stream in pairs for each in stream]
        total = sum((y * c).sum() for y, c in zip(outs, cotangents, strict=True))
        leaves = [*given, *block.parameters()]
        return *outs, *torch.autograd.grad(total, leaves, materialize_grads=True)

    torch.compiler.reset()
    found = everything(torch.compile(block_jvp, backend=lean([]), fullgraph=True))
    for compiled, plain in zip(found, everything(block_jvp), strict=True):
        assert error(compiled, plain) < 10 * EXACT


class Gated(MLP):
    """The product of two activations: the gradient of each takes the other's result."""

    def forward(self, tokens):
        z = self.expand(tokens)
        return self.contract(tanh_gelu(z) * tanh_gelu(-z))


class Twice(MLP):
    """What the activation gives is activated again."""

    def forward(self, tokens):
        return self.contract(tanh_gelu(tanh_gelu(self.expand(tokens))))


class Multiplied(MLP):
    """The gradient of normalised tokens takes them too."""

    def forward(self, tokens):
        return super().forward(tokens) * tokens


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("mlp", [Gated, Twice, Multiplied])
def test_results_that_their_own_gradient_waits_for(mlp, detached):
    check(block_of(mlp), detached)


@pytest.mark.parametrize("name", ["attention_norm", "mlp_norm", "attention.q_norm",
                                  "attention.k_norm"])  # fmt: skip
def test_hooks_on_norms_with_kernels(name):
    block = block_of()
    block.get_submodule(name).register_forward_hook(lambda module, given, found: 2 * found)
    check(block)


class Own(nn.Module):
    """A user's norm with `kernels` that autograd differentiates: it always adds up."""

    def fuses(self, tokens):
        return True

    def fused(self, tokens, vectors, branch=None, earlier=None, add_up=True):
        if earlier is not None:
            tokens = tokens + earlier[1] * earlier[0]
        return plain_modulated(tokens, vectors, branch)

    def forward(self, x):
        return plain_modulated(x, x.new_zeros(len(x), 2, SIZE))[1]


@pytest.mark.parametrize("name", ["attention_norm", "mlp_norm"])
def test_norms_of_two_makes_leave_each_other_no_sum(name):
    block = block_of()
    setattr(block, name, Own())
    check(block)


@pytest.mark.parametrize("mlp, joined", [(MLP, True), (Gated, False), (Twice, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_give_their_activation_where_there_is_no_gradient(mlp, joined, dtype):
    layer, g, graphs = block_of(mlp).mlp.to(dtype), torch.Generator().manual_seed(1), []
    tokens = torch.randn(2, 4, SIZE, generator=g).to(dtype)
    torch.compiler.reset()
    with torch.no_grad():
        found = torch.compile(layer, backend=lean(graphs), fullgraph=True)(tokens)
        expected = mlp(SIZE, 32)
        expected.load_state_dict(layer.state_dict())
        assert error(found, expected(tokens.float())) < (EXACT if dtype == torch.float32 else 1e-2)
    names = [str(node.target) for node in graphs[0].graph.nodes]
    assert ("tvmlab_norm.linear_gelu.default" in names) is (joined and dtype == torch.bfloat16)


@pytest.mark.parametrize("eps", [(EPS, 1.0), (1.0, EPS)])
def test_two_norms_of_the_same_tokens_are_told_apart_by_eps(eps):
    g = torch.Generator().manual_seed(0)
    shapes = [(2, 4, SIZE), (2, 2, SIZE), (SIZE, SIZE), (SIZE, SIZE)]
    leaves = [torch.randn(s, generator=g).requires_grad_() for s in shapes]

    def run(x, vectors, first, second):
        seen = modulated_norm(x, vectors, eps[0], x.dtype)[1]
        aside = modulated_norm(x.detach(), vectors.detach(), eps[1], x.dtype)[1]
        return (seen @ first).sin().sum() + (aside @ second).cos().sum()

    torch.compiler.reset()
    compiled = torch.compile(run, backend=lean([]), fullgraph=True)
    found, expected = (torch.autograd.grad(each(*leaves), leaves) for each in (compiled, run))
    torch.testing.assert_close(found, expected)
