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
    """A layer that changes what it has computed with: the gradient is of what it was."""

    def __init__(self, seen):
        super().__init__()
        self.linear, self.seen = nn.Linear(8, 8).double(), seen
        self.register_buffer("scale", torch.randn(8, 8))

    def forward(self, tokens, condition):
        mixed = self.linear(tokens @ self.seen(self.scale)).sin()
        with torch.no_grad():
            self.scale.mul_(-3.0)
        return mixed + condition


@pytest.mark.parametrize(
    "seen",
    [
        lambda scale: scale.double(),
        lambda scale: scale.view(2, 4, 8).chunk(2)[1].double().sin().repeat(1, 2, 1).squeeze(0),
    ],
    ids=["cast", "chunk"],
)
def test_gradients_are_of_buffers_as_they_were(seen):
    def step(run):
        torch.manual_seed(0)
        block = Changing(seen)
        tokens = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)
        found = run(block, tokens, tokens.detach().cos())
        found.square().sum().backward()
        return found.detach(), tokens.grad, block.linear.weight.grad, block.scale

    torch.compiler.reset()
    with lean_graphs():
        found = step(torch.compile(block_forward, fullgraph=True, dynamic=False))
    torch.testing.assert_close(found, step(block_forward))


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
