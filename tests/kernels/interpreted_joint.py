"""Checks of the joint backward of attention and norm in Triton's interpreter: `interpreted.py`."""

import sys
from dataclasses import replace

import pytest
import torch

from kernels import flash_attention, head_norm_joint, tuning
from kernels.head_norm import head_norm, joint_op
from kernels.head_norm_joint import ROWS
from tests.kernels.joint_checks import apart, arguments, worst_joint
from tests.kernels.lean_compiler import lean
from tests.kernels.norm_checks import EPS, EXACT, error

CUDNN = torch.ops.aten._scaled_dot_product_cudnn_attention.default
JOINT = "tvmlab_norm.attention_head_norm_backward.default"
APART = ["tvmlab_kernels.attention_jvp_backward.default", "tvmlab_norm.head_norm_backward.default"]
CHECKS = (
    "test_schema",
    "test_autograd_registration",
    "test_faketensor",
    "test_aot_dispatch_static",
)
ROUNDED = 6e-3  # of bfloat16, by which gradients of queries and keys are rounded if apart


@pytest.fixture()
def blocks(monkeypatch):
    """Blocks as a GPU has them, and no way round."""
    tuning.clear()
    monkeypatch.setattr(tuning, "built_in", lambda case: tuning.Settings(ROWS, ROWS, 4, 1))
    monkeypatch.setattr(head_norm_joint, "attention_jvp_backward", None)
    yield
    tuning.clear()


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 70, 3, 16), (1, 128, 2, 24), (2, 5, 1, 16)])
def test_joint_is_both(blocks, shape, dtype, dual):
    found = worst_joint(arguments(shape, dtype, dual, "cpu"))
    assert found < (EXACT if dtype == torch.float32 else ROUNDED)


@pytest.mark.parametrize("cotangents", [(True, False), (False, True)])
def test_one_cotangent(blocks, cotangents):
    args = arguments((1, 70, 2, 16), torch.float32, True, "cpu", cotangents)
    assert worst_joint(args) < EXACT


@pytest.mark.parametrize("tuned", [(32, 32, 4, 1, 0), (ROWS, ROWS, 4, 1, 1)])
def test_tuned_settings(blocks, tuned):
    """Of other blocks they are not taken; and descriptors are read through."""
    args = arguments((1, 70, 2, 16), torch.float32, True, "cpu")
    case = tuning.Case("query", "interpreter", torch.float32, 16, 128, False, 3)
    for kernel in ("query", "key"):
        tuning.record(replace(case, kernel=kernel), tuning.Settings(*tuned))
    assert len(joint_op(*args)[2]) == 2
    assert worst_joint(args) < EXACT


@pytest.mark.parametrize("present", [(True, True), (False, False)])
@pytest.mark.parametrize("shape", [(2, 40, 3, 16), (1, 9, 2, 72), (0, 4, 2, 16)])
def test_one_after_the_other_where_blocks_are_others(shape, present):
    args = arguments(shape, torch.float32, True, "cpu", present)
    for found, expected in zip(joint_op(*args), apart(args), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dual", [False, True])
def test_opcheck(blocks, dual):
    args = arguments((1, 5, 2, 16), torch.float32, dual, "cpu")
    torch.library.opcheck(joint_op, args, test_utils=CHECKS)


def attend(moved):
    """Attention under a norm, its queries moved on the way or not."""

    def run(qkv, q_scale, k_scale, offset):
        q, k, v = (x.transpose(1, 2) for x in head_norm(qkv, q_scale, k_scale, 2, EPS))
        return flash_attention(q + offset if moved else q, k, v)

    return run


@pytest.mark.parametrize("moved", [False, True])
def test_a_graph_has_them_joint_unless_something_else_reads_a_gradient(blocks, monkeypatch, moved):
    torch.compiler.reset()
    g = torch.Generator().manual_seed(0)
    shapes = [(2, 70, 96), (16,), (16,), (16,)]
    xs = [torch.randn(s, generator=g).requires_grad_() for s in shapes]
    txs = [torch.randn(shapes[0], generator=g)]
    cotangents = [torch.randn(2, 2, 70, 16, generator=g) for _ in range(2)]

    def gradients(compiler):
        def run(qkv, tqkv, *rest):
            return torch.func.jvp(lambda x: attend(moved)(x, *rest), (qkv,), (tqkv,))

        if compiler is not None:
            run = torch.compile(run, backend=compiler, fullgraph=True)
        outs = run(xs[0], *txs, *xs[1:])
        return torch.autograd.grad(outs, xs if moved else xs[:3], cotangents)

    backwards: list[torch.fx.GraphModule] = []
    found = gradients(lean(backwards))
    for gradient, expected in zip(found, gradients(None), strict=True):
        assert error(gradient, expected) < 2 * EXACT
    targets = [str(node.target) for node in backwards[0].graph.nodes]
    assert [targets.count(each) for each in (JOINT, *APART)] == ([0, 1, 1] if moved else [1, 0, 0])


@pytest.fixture()
def as_cudnn(monkeypatch):
    """Plain attention as it is on a GPU, forwards only."""

    def forward(q, k, v, bias, lse, *, scale):
        logits = scale * q @ k.transpose(2, 3)
        o = logits.softmax(-1) @ v
        none = torch.empty(0, dtype=torch.int64)
        natural = logits.logsumexp(-1, keepdim=True)
        return o, natural, none, none, q.shape[2], k.shape[2], none, none, none

    def attention(q, k, v, *, scale, is_causal):
        return CUDNN(q, k, v, None, True, 0.0, is_causal, False, scale=scale)[0]

    monkeypatch.setattr(sys.modules["kernels.attention"], "scaled_dot_product_attention", attention)
    library = torch.library.Library("aten", "IMPL")
    library.impl("_scaled_dot_product_cudnn_attention", forward, "CPU")
    yield
    library._destroy()


@pytest.mark.parametrize(("tokens", "joint"), [(70, 1), (512, 1), (513, 0)])
def test_plain_attention_of_few_tokens_goes_on_through_the_norm_too(
    blocks, as_cudnn, tokens, joint
):
    torch.compiler.reset()
    g = torch.Generator().manual_seed(0)
    shapes = [(1, tokens, 96), (16,), (16,), (16,)]
    xs = [torch.randn(s, generator=g).requires_grad_() for s in shapes]
    backwards: list[torch.fx.GraphModule] = []
    run = torch.compile(attend(False), backend=lean(backwards), fullgraph=True)
    out = run(*xs)
    cotangent = torch.randn(out.shape, generator=g)
    if joint:
        q, k, v = (x.transpose(1, 2) for x in head_norm(*xs[:3], 2, EPS))
        dense = (q @ k.transpose(2, 3) / 4).softmax(-1) @ v
        expected = torch.autograd.grad(dense, xs[:3], cotangent)
        for gradient, other in zip(torch.autograd.grad(out, xs[:3], cotangent), expected):
            assert error(gradient, other) < 2 * EXACT
    else:
        with pytest.raises(NotImplementedError, match="cudnn_attention_backward"):
            torch.autograd.grad(out, xs[:3], cotangent)
    targets = [str(node.target) for node in backwards[0].graph.nodes]
    assert targets.count(JOINT) == joint
    assert targets.count(str(CUDNN).replace("attention.", "attention_backward.")) == 1 - joint
