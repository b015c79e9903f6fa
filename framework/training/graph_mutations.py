"""What a module changes in place while it runs: a power iteration's vectors, say, or a count."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import torch
from torch import fx
from torch.utils.checkpoint import CheckpointPolicy

_COPY = torch.ops.aten.copy_.default


def keep_from_changing(graph: fx.Graph) -> None:
    """Keep what follows from a tensor that the graph changes, as it was before.

    The compiler takes what a graph is given for the same in the backward pass, and would compute
    from the changed tensor again. Where the backward pass needs the tensor itself, autograd says
    so, as it does without a compiler.
    """
    for node in graph.nodes:
        if node.target is _COPY and node.args[0].op == "placeholder":
            for reader in _readers(node.args[0]):
                reader.meta["recompute"] = CheckpointPolicy.MUST_SAVE


def _readers(tensor: fx.Node) -> Iterator[fx.Node]:
    """Yield what computes with a tensor, or with a view of it."""
    for user in tensor.users:
        if user.target is operator.getitem or getattr(user.target, "is_view", False):
            yield from _readers(user)
        elif user.target is not _COPY:
            yield user
