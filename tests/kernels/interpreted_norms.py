"""Checks of the norms' kernels in Triton's interpreter, compiled: see `interpreted.py`."""

import pytest
import torch
from torch._functorch import config as functorch_config

from components.models.residual import Stream, inward
from components.models.transformer import MLP, Block, Modulation, SelfAttention
from components.modulation_norms.rms import ModulationRMS
from components.normalizations.rms import RMS
from components.qk_norms.rms import QKRMS
from framework.passes import block_jvp
from kernels import flash_attention
from kernels.gelu import gelu
from kernels.head_norm import head_norm
from kernels.modulated_norm import modulated_norm
from tests.kernels.lean_compiler import lean
from tests.kernels.norm_checks import (
    EPS,
    EXACT,
    error,
    plain_modulated,
    worst,
    worst_gelu,
    worst_heads,
    worst_modulated,
)

ROUNDED = 6e-3  # of bfloat16, which the interpreter cuts off


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 6, 24), (1, 1, 16)])
def test_modulated_norm(shape, dtype, dual, branch, compiled):
    found = worst_modulated(shape, dtype, dual, branch, compiled, "cpu")
    assert found < (EXACT if dtype == torch.float32 else ROUNDED)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 5, 3, 16), (2, 4, 2, 24)])
def test_head_norm(shape, dtype, dual, compiled):
    found = worst_heads(shape, dtype, dual, compiled, "cpu")
    assert found < (EXACT if dtype == torch.float32 else ROUNDED)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 5, 24), (3, 1030)])
def test_gelu(shape, dtype, dual, compiled):
    found = worst_gelu(shape, dtype, dual, compiled, "cpu")
    assert found < (2 * EXACT if dtype == torch.float32 else ROUNDED)


def test_a_branch_that_is_not_added_up_is_the_next_norms():
    """Two norms of one sum: the second adds up what the first left, the first has its gradient."""
    g = torch.Generator().manual_seed(0)
    shapes = [(2, 4, 16)] * 3 + [(2, 3, 16)] * 2
    primals, tangents = ([torch.randn(s, generator=g) for s in shapes] for _ in range(2))

    def fused(x, branch, other, first, second):
        kept, seen = modulated_norm(x, first, EPS, x.dtype, branch, add_up=False)
        earlier = (branch, first[:, :1])
        return seen, *modulated_norm(kept, second, EPS, x.dtype, other, earlier)

    def plain(x, branch, other, first, second):
        u, seen = plain_modulated(x, first, branch)
        return seen, *plain_modulated(u, second, other)

    for compiled in (False, True):
        for dual in (False, True):
            found = worst(fused, plain, primals, tangents * dual, (primals[0],) * 3, compiled)
            assert found < EXACT


def test_a_detached_tangent_costs_no_gradient_and_gives_the_right_one():
    g = torch.Generator().manual_seed(0)
    x, tx = (torch.randn(2, 4, 16, generator=g) for _ in range(2))
    v, tv = (torch.randn(2, 2, 16, generator=g) for _ in range(2))

    def gradient(function, x, v, tx, tv):
        leaves = [each.detach().requires_grad_() for each in (x, v, tx, tv)]

        def run(x, v, tx, tv):
            (_, y), (_, ty) = torch.func.jvp(function, (x, v), (tx, tv))
            return y, ty.detach()

        y, _ = torch.compile(run, backend="aot_eager", fullgraph=True)(*leaves)
        return torch.autograd.grad(y.square().sum(), leaves, allow_unused=True)

    found = gradient(lambda x, v: modulated_norm(x, v, EPS, torch.float32), x, v, tx, tv)
    expected = gradient(plain_modulated, *(each.double() for each in (x, v, tx, tv)))
    assert found[2] is None and found[3] is None
    assert max(map(error, found[:2], expected[:2])) < EXACT


@pytest.mark.parametrize("function", [
    lambda x: modulated_norm(x, torch.zeros(2, 2, 24), EPS, torch.float32)[0],
    lambda x: head_norm(x, torch.ones(4), torch.ones(4), 2, EPS)[2].flatten(2),
])  # fmt: skip
def test_what_passes_through_is_there_without_compiler_and_gradient(function):
    x = torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(function(x), x[..., -function(x).shape[-1] :])


OPERATIONS = {
    "modulated": lambda x: modulated_norm(x, torch.zeros(2, 2, 24), EPS, torch.float32)[1],
    "heads": lambda x: head_norm(x, torch.ones(4), torch.ones(4), 2, EPS)[0].flatten(2),
    "gelu": gelu,
}


def tokens():
    return torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_torch_func_grad_is_torchs_own(operation):
    leaf = tokens().requires_grad_()
    (expected,) = torch.autograd.grad(operation(leaf).sin().sum(), leaf)
    assert torch.equal(torch.func.grad(lambda x: operation(x).sin().sum())(tokens()), expected)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_a_second_reverse_pass_is_refused(operation):
    leaf = tokens().requires_grad_()
    (gradient,) = torch.autograd.grad(operation(leaf).sin().sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match="has no rule for a second reverse pass"):
        torch.autograd.grad(gradient.square().sum(), leaf)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_other_transforms_are_refused(operation):
    x = tokens()

    def slope(x):
        return torch.func.jvp(operation, (x,), (x,))[1]

    with pytest.raises(NotImplementedError, match="fold the mapped dimension"):
        torch.vmap(operation)(x[None])
    with pytest.raises(NotImplementedError, match="nested forward mode"):
        torch.func.jvp(slope, (x,), (x,))
    with pytest.raises(NotImplementedError, match="nested forward mode"):
        torch.func.jvp(torch.func.grad(lambda x: operation(x).sin().sum()), (x,), (x,))


def test_scales_of_heads_have_no_tangents():
    with pytest.raises(NotImplementedError, match="not of its scales"):
        torch.func.jvp(
            lambda s: head_norm(tokens(), s, s, 2, EPS)[0], (torch.ones(4),), (torch.ones(4),)
        )


@pytest.mark.parametrize("detached", [False, True])
def test_a_backward_pass_has_norms_give_again_and_is_right(detached):
    torch.compiler.reset()
    g = torch.Generator().manual_seed(0)
    size, heads = 24, 2
    attention = SelfAttention(size, heads, QKRMS, flash_attention)
    block = Block(attention, MLP(size, 32), Modulation(size, 6, ModulationRMS), lambda: RMS(size))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g) / 4)
    shapes = [(2, 4, size), (2, 4, size), (2, 1, size)] * 2 + [(2, size)] * 2
    given = [torch.randn(s, generator=g).requires_grad_() for s in shapes]
    cotangents = [torch.randn(s, generator=g) for s in shapes[:6]]

    def gradients(run):
        outs = run(block, detached, Stream(*given[:3]), Stream(*given[3:6]), *given[6:])
        leaves = [*given, *block.parameters()]
        outs = [each for stream in outs for each in stream]
        pairs = [(y, c) for y, c in zip(outs, cotangents, strict=True) if y.requires_grad]
        return torch.autograd.grad(
            [y for y, _ in pairs], leaves, [c for _, c in pairs], allow_unused=True
        )

    backwards: list[torch.fx.GraphModule] = []
    with functorch_config.patch(aggressive_recomputation=True):
        run = torch.compile(block_jvp, backend=lean(backwards), fullgraph=True)
        found = gradients(run)
    for gradient, expected in zip(found, gradients(block_jvp), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    (module,) = backwards
    targets = [str(node.target) for node in module.graph.nodes]
    assert targets.count("tvmlab_norm.modulated_norm_backward.default") == 2
    assert "tvmlab_norm.modulated_norm.default" not in targets
    assert targets.count("tvmlab_norm.gelu_backward.default") == 1
    assert "tvmlab_norm.gelu.default" not in targets
    assert targets.count("tvmlab_norm.attention_head_norm_backward.default") == 1
    assert "tvmlab_norm.head_norm_backward.default" not in targets
    assert targets.count("tvmlab_norm.head_norm.default") == 1  # queries and keys are not kept


class Doubled(RMS):
    """A user's norm, made from ours."""

    def forward(self, x):
        return 2 * super().forward(x)


class DoubledHeads(QKRMS):
    """A user's norm of heads, made from ours."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_a_norm_derived_from_one_with_kernels_is_run_as_it_is_written():
    g = torch.Generator().manual_seed(0)
    tokens, vectors = torch.randn(2, 4, 24, generator=g), torch.randn(2, 2, 24, generator=g)
    run = torch.compile(inward, backend="aot_eager", fullgraph=True)
    for norm in (RMS(24), Doubled(24)):
        torch.testing.assert_close(run(norm, tokens, vectors), inward(norm, tokens, vectors))
    for kind in (QKRMS, DoubledHeads):
        attention = SelfAttention(24, 2, kind, flash_attention)
        torch.nn.init.normal_(attention.qkv.weight, generator=g)
        torch.nn.init.normal_(attention.projection.weight, generator=g)
        for linear in (attention.qkv, attention.projection):
            torch.nn.init.zeros_(linear.bias)
        compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
        with torch.no_grad():
            torch.testing.assert_close(compiled(tokens), attention(tokens))
