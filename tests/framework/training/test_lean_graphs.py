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
