"""Operations as compiled graphs find them."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module, name", [("gelu", "linear_gelu"), ("head_norm", "attention_head_norm_backward")]
)
def test_what_a_cached_graph_calls_comes_with_what_was_traced(module, name):
    """No pass that puts such a call there runs in a process that finds the graph in a cache."""
    called = f"import torch, kernels.{module}; torch.ops.tvmlab_norm.{name}.default"
    subprocess.run([sys.executable, "-c", called], check=True)
