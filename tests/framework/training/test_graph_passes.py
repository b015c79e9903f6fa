"""Changes to graphs of compiled steps."""

import torch
from torch import fx
from torch.utils.checkpoint import CheckpointPolicy

from framework.training.graph_passes import keep_costly

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
