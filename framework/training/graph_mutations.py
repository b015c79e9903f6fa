"""What a module changes in place while it runs: a power iteration's vectors, say, or a count."""

from __future__ import annotations

import torch
from torch import fx

from framework.training.graph_nodes import descendants, is_backward

_COPY = torch.ops.aten.copy_.default


def refuse_changes(graph: fx.Graph) -> None:
    """Refuse to compile what changes a tensor in place that gradients follow from.

    The compiler takes what a graph is given for the same in the backward pass, where it computes
    again from it; a copy that the module made of it counts for nothing there.

    Raises:
        RuntimeError: there is such a tensor.
    """
    for node in graph.nodes:
        given = node.args[0] if node.target is _COPY else None
        if not isinstance(given, fx.Node) or given.op != "placeholder":
            continue
        if any(map(is_backward, descendants(given) - {node})):
            shape = tuple(given.meta["val"].shape)
            raise RuntimeError(
                f"gradients follow from a buffer or weight {shape} that is changed in place"
            )
