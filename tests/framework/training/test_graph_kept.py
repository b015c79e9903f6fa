"""What a compiled forward pass keeps for its backward pass."""

import pytest
import torch
from torch import fx
from torch.utils.checkpoint import CheckpointPolicy

from components.time_embeddings import Sinusoidal
from framework.training.graph_kept import SMALL, keep_costly, keep_small_factors
from framework.training.graph_nodes import CAST
from framework.training.lean_graphs import lean_graphs
from kernels import head_norm
from tests.kernels.lean_compiler import lean, operations

ATTENTION = torch.ops.aten._scaled_dot_product_cudnn_attention.default


def test_attention_is_marked_and_nothing_else():
    graph = fx.Graph()
    q = graph.placeholder("q")
    attention = graph.call_function(ATTENTION, (q, q, q, None, True))
    graph.output(graph.call_function(torch.ops.aten.sin.default, (attention,)))
    keep_costly(graph)
    marked = {node for node in graph.nodes if "recompute" in node.meta}
    assert marked == {attention}
    assert attention.meta["recompute"] == CheckpointPolicy.MUST_SAVE


@pytest.mark.parametrize("keeping", [False, True])
def test_normalised_heads_are_kept_if_asked_for(keeping):
    graph = fx.Graph()
    qkv = graph.placeholder("qkv")
    heads = graph.call_function(head_norm.forward_op, (qkv, None, qkv, qkv, 1, 1e-6))
    graph.output(heads)
    keep_costly(graph, heads=keeping)
    assert ("recompute" in heads.meta) is keeping


VIEWS = [(torch.ops.aten.view.default, [-1, 8]), (torch.ops.aten.slice.Tensor, 0, 0, 1)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("small", [True, False])
def test_small_factors_of_products_are_marked_and_large_ones_are_not(small, view):
    rows = SMALL // 8 // 4 + (not small)  # of 8 numbers of 4 bytes
    graph = fx.Graph()
    x, weight = graph.placeholder("x"), graph.placeholder("weight")
    sine = graph.call_function(torch.ops.aten.sin.default, (x,))
    seen = graph.call_function(view[0], (sine, *view[1:]))
    cast = graph.call_function(CAST, (weight, torch.float32))
    product = graph.call_function(torch.ops.aten.mm.default, (seen, cast))
    graph.output(graph.call_function(torch.ops.aten.cos.default, (product,)))
    sine.meta["val"] = torch.empty(rows, 8, device="meta")
    cast.meta["val"] = torch.empty(8, 8, device="meta")
    keep_small_factors(graph)
    assert [node for node in graph.nodes if "recompute" in node.meta] == [sine] * small


def test_time_features_are_not_computed_again():
    torch.manual_seed(0)
    torch.compiler.reset()
    backwards, embedding, times = [], Sinusoidal(8, features=6), torch.rand(5)
    with lean_graphs():
        torch.compile(embedding, backend=lean(backwards), fullgraph=True)(times).sum().backward()
    assert not operations(backwards[0]) & {torch.ops.aten.sin.default, torch.ops.aten.cos.default}
