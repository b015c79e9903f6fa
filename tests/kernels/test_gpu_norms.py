"""The kernels of the norms and of GELU on an NVIDIA GPU."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from framework.training.lean_graphs import lean_graphs
from kernels import ahead, flash_attention, head_norm_joint
from kernels.head_norm import head_norm
from kernels.modulated_norm import modulated_norm
from kernels.modulated_norm_kernels import modulated_norm_forward_kernel
from tests.kernels.joint_checks import arguments, worst_joint
from tests.kernels.norm_checks import (
    EPS,
    EXACT,
    error,
    worst_gelu,
    worst_heads,
    worst_modulated,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
LIMIT = {torch.float32: EXACT, torch.bfloat16: 4e-3, torch.float16: 5e-4}


@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("shape", [(4, 64, 1152), (3, 17, 768)])
def test_modulated_norm(shape, dual, branch, dtype):
    assert worst_modulated(shape, dtype, dual, branch, False, "cuda") < LIMIT[dtype]


@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("shape", [(4, 64, 18, 64), (3, 17, 5, 72)])
def test_head_norm(shape, dual, dtype):
    assert worst_heads(shape, dtype, dual, False, "cuda") < LIMIT[dtype]


@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("shape", [(4, 64, 4608), (3, 17, 200)])
def test_gelu(shape, dual, dtype):
    assert worst_gelu(shape, dtype, dual, False, "cuda") < 2 * LIMIT[dtype]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(256, 1152, 4608), (51, 200, 136)])
def test_linear_gelu(shape, dtype):
    M, K, N = shape
    g = torch.Generator("cuda").manual_seed(0)
    x, weight, bias = (
        torch.randn(s, device="cuda", generator=g) / scale
        for s, scale in (((M, K), 1), ((N, K), K**0.5), ((N,), 2))
    )
    found = torch.ops.tvmlab_norm.linear_gelu(bias.to(dtype), x.to(dtype), weight.to(dtype).T)
    layer = torch.addmm(*(each.to(dtype).double() for each in (bias, x, weight.T)))
    expected = torch.nn.functional.gelu(layer, approximate="tanh")
    assert error(found, expected) < LIMIT[dtype]


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("shape", [(2, 256, 12, 64), (2, 250, 12, 64), (1, 1024, 2, 64)])
def test_joint_backward(monkeypatch, shape, dual):
    args = arguments(shape, torch.bfloat16, dual, "cuda")
    monkeypatch.setattr(head_norm_joint, "attention_jvp_backward", None)  # no way round
    assert worst_joint(args) < 6e-3


@pytest.mark.parametrize("dual", [False, True])
def test_compiled(dual):
    assert worst_gelu((4, 64, 4608), torch.float32, dual, True, "cuda") < 2 * EXACT
    assert worst_modulated((4, 64, 1152), torch.float32, dual, True, True, "cuda") < EXACT
    assert worst_heads((4, 64, 18, 64), torch.float32, dual, True, "cuda") < EXACT


def test_plain_attention_goes_on_through_the_norm_compiled():
    torch.compiler.reset()
    g = torch.Generator("cuda").manual_seed(0)
    qkv = torch.randn(2, 256, 3 * 12 * 64, device="cuda", generator=g).bfloat16().requires_grad_()
    xs = (qkv, *(torch.rand(64, device="cuda", generator=g).requires_grad_() for _ in range(2)))
    cotangent = torch.randn(2, 12, 256, 64, device="cuda", generator=g).bfloat16()

    def attend(*xs):
        return flash_attention(*(x.transpose(1, 2) for x in head_norm(*xs, 12, EPS)))

    compiled = torch.compile(attend, fullgraph=True, dynamic=False)
    with lean_graphs():
        torch.autograd.grad(compiled(*xs), xs, cotangent)
    with torch.profiler.profile() as profiler:
        found = torch.autograd.grad(compiled(*xs), xs, cotangent)
    assert {"query_kernel", "key_kernel"} <= {entry.key for entry in profiler.key_averages()}
    for gradient, expected in zip(found, torch.autograd.grad(attend(*xs), xs, cotangent)):
        assert error(gradient, expected) < 1e-2


def test_what_is_traced_is_compiled_before_it_runs():
    sizes = (2, 8, 208), (2, 2, 208)
    with FakeTensorMode(), torch.no_grad():
        modulated_norm(*(torch.empty(s, device="cuda") for s in sizes), EPS, torch.float32)
    for key in list(ahead._pending):
        ahead.finish(key)
    cache = modulated_norm_forward_kernel.device_caches[torch.cuda.current_device()][0]
    before = len(cache)
    with torch.no_grad():
        modulated_norm(*(torch.ones(s, device="cuda") for s in sizes), EPS, torch.float32)
    assert len(cache) == before > 0
