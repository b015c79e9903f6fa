"""What a compiled step keeps for its backward pass."""

import pytest
import torch
from torch import nn

from framework.passes import block_forward
from framework.training.lean_graphs import lean_graphs


class Attending(nn.Module):
    """A linear layer around attention of four heads."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, tokens, condition):
        q = (self.linear(tokens) * condition).unflatten(-1, (4, 16)).transpose(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(q, q, q)
        return tokens + mixed.transpose(1, 2).flatten(2)


class Changing(nn.Module):
    """A layer that changes what it has computed with, by `seen`, or what it counts."""

    def __init__(self, seen=None):
        super().__init__()
        self.linear, self.seen = nn.Linear(8, 8), seen
        self.register_buffer("scale", torch.randn(8, 8))
        self.register_buffer("other", torch.randn(8, 8))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, tokens, condition):
        mixed = self.linear(tokens if self.seen is None else tokens @ self.seen(self)).sin()
        with torch.no_grad():
            self.scale.mul_(-3.0).add_(mixed.mean())
            self.count += 1
        return mixed + condition + self.count


def followed(module):
    """Copy one buffer into another, and return that."""
    with torch.no_grad():
        module.other.copy_(module.scale)
    return module.other


def step(run, seen):
    torch.manual_seed(0)
    block = Changing(seen)
    tokens = torch.randn(4, 8, requires_grad=True)
    found = run(block, tokens, tokens.detach().cos())
    found.square().sum().backward()
    return found.detach(), tokens.grad, block.linear.weight.grad, block.scale, block.count


SEEN = {
    "as it is": lambda module: module.scale,
    "cast": lambda module: module.scale.double().float(),
    "cloned": lambda module: module.scale.clone(),
    "through views": lambda module: module.scale.view(2, 4, 8).chunk(2)[1].sin().repeat(1, 2, 1)[0],
    "copied": followed,
}


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
def test_buffers_that_change_under_a_gradient_are_not_compiled(seen):
    torch.compiler.reset()
    compiled = torch.compile(block_forward, fullgraph=True, dynamic=False)
    with lean_graphs(), pytest.raises(RuntimeError, match=r"changed in place|an inplace operation"):
        step(compiled, seen)


def test_what_only_counts_is_compiled():
    torch.compiler.reset()
    with lean_graphs():
        found = step(torch.compile(block_forward, fullgraph=True, dynamic=False), None)
    torch.testing.assert_close(found, step(block_forward, None))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_attention_runs_once_in_a_step():
    torch.compiler.reset()
    block = Attending().to("cuda", torch.bfloat16)
    tokens = torch.randn(2, 128, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    run = torch.compile(block_forward, fullgraph=True, dynamic=False)

    def step():
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.CUDNN_ATTENTION):
            run(block, tokens, tokens.new_ones(64)).sum().backward()

    with lean_graphs():
        step()
    with torch.profiler.profile() as profiler:
        step()
    counts = {entry.key: entry.count for entry in profiler.key_averages()}
    assert counts["aten::_scaled_dot_product_cudnn_attention"] == 1
    assert counts["aten::_scaled_dot_product_cudnn_attention_backward"] == 1
