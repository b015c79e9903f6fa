"""An activation that nothing but the next layer sees is computed where the layer before it ends."""

from __future__ import annotations

import torch
from torch import fx

from framework.training.graph_nodes import SHAPES, calls, number_of

_aten = torch.ops.aten


def join_activations(graph: fx.Graph) -> None:
    """Let a layer of 16 bits give gelu(z) instead of z, where no tangent and no gradient needs z.

    Those are passes without gradient: of the target, and those that samples are drawn by. There
    the GELU reads and writes as much as the products around it write and read.
    """
    for gelu in calls(graph, "gelu"):
        z, tangent = gelu.args
        layer = _layer_behind(z)
        if layer is not None and tangent is None:
            _join(graph, layer, gelu)
    graph.eliminate_dead_code()


def _join(graph: fx.Graph, layer: fx.Node, gelu: fx.Node) -> None:
    with graph.inserting_before(layer):
        joint = graph.call_function(torch.ops.tvmlab_norm.linear_gelu.default, layer.args)
    joint.meta = dict(layer.meta)
    layer.replace_all_uses_with(joint)
    for result in list(gelu.users):
        if number_of(result) == 0:
            result.replace_all_uses_with(gelu.all_input_nodes[0])


def _layer_behind(z: object) -> fx.Node | None:
    """Return the layer whose result z is, if nothing else sees that."""
    while isinstance(z, fx.Node) and z.target in SHAPES and len(z.users) == 1:
        z = z.args[0]
    if not isinstance(z, fx.Node) or z.target is not _aten.addmm.default:
        return None
    rounded = z.meta["val"].dtype.itemsize == 2  # no more is known of how cuBLAS computes a GELU
    return z if rounded and len(z.users) == 1 and not z.kwargs else None
