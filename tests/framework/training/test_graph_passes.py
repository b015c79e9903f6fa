"""Changes to graphs of compiled steps."""

from pathlib import Path

import pytest
import torch
from torch import fx
from torch.utils.checkpoint import CheckpointPolicy

from framework.training import graph_passes
from framework.training.graph_passes import Kept, LeanGraph, keep_costly
from kernels import head_norm

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


def test_the_compilers_cache_knows_what_is_kept():
    kept = Kept(), Kept(heads=True), Kept(weights=False)
    assert len({LeanGraph(each).uuid() for each in kept}) == 3


def test_the_compilers_cache_knows_what_graphs_follow_from(monkeypatch, tmp_path):
    names = {Path(each).name for each in graph_passes.sources()}
    assert {"graph_passes.py", "graph_joins.py", "graph_nodes.py", "gelu.py"} <= names
    before = LeanGraph(Kept()).uuid()
    changed = tmp_path / "changed.py"
    changed.write_text("another reverse rule")
    monkeypatch.setattr(graph_passes, "sources", lambda: (str(changed),))
    assert LeanGraph(Kept()).uuid() != before
