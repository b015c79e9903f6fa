"""What a compiled forward pass keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import fx
from torch.utils.checkpoint import CheckpointPolicy

from framework.training.graph_nodes import CAST, NORMS, VIEWS, calls, is_backward

SMALL = 2**20
"""Bytes of a small tensor: the paper's networks have smaller conditions, and larger tokens."""

_aten = torch.ops.aten
_FACTORS = {
    _aten.mm.default: slice(0, 2),
    _aten.bmm.default: slice(0, 2),
    _aten.addmm.default: slice(1, 3),
    _aten.baddbmm.default: slice(1, 3),
}


class Kept(NamedTuple):
    """What is kept for the backward pass besides what is costly.

    Attributes:
        heads: normalised queries and keys, or they are normalised again.
        weights: weights in the type that products take, or they are cast again.
    """

    heads: bool = False
    weights: bool = True


def mark_kept(graph: fx.Graph, kept: Kept) -> None:
    """Mark what the compiler has to keep, and what it has to compute again."""
    keep_costly(graph, kept.heads)
    keep_small_factors(graph)
    if not kept.weights:
        cast_again(graph)


def keep_costly(graph: fx.Graph, heads: bool = False) -> None:
    """Mark what is kept though PyTorch knows no cost of it: cuDNN's attention, custom operations.

    Otherwise every plain pass would attend a second time in its backward pass. Our own norms are
    custom operations too, but cost little more than reading what they would have kept; that of
    `heads` is kept if asked for.
    """
    norms = calls(graph, "head_norm") if heads else []
    for node in graph.nodes:
        if _is_costly(node.target) or node in norms:
            node.meta["recompute"] = CheckpointPolicy.MUST_SAVE


def keep_small_factors(graph: fx.Graph) -> None:
    """Mark small factors of products: they lie in memory whole, and weights' gradients read them.

    The features of a time are such. To compute them again takes a step next to nothing, but the
    compiler seconds: sines and cosines are its longest kernels.
    """
    for factor in _factors(graph):
        value = factor.meta["val"]
        if value.numel() * value.element_size() <= SMALL and not _is_cast_input(factor):
            factor.meta["recompute"] = CheckpointPolicy.MUST_SAVE


def cast_again(graph: fx.Graph) -> None:
    """Mark casts of what a graph is given, weights for one, as made again in the backward pass."""
    for node in graph.nodes:
        if _is_cast_input(node):
            for each in (node, *(user for user in node.users if user.target in VIEWS)):
                each.meta["recompute"] = CheckpointPolicy.MUST_RECOMPUTE


def _factors(graph: fx.Graph) -> Iterator[fx.Node]:
    """Yield what products of the forward pass read that an operation computed, views taken off."""
    for product in graph.nodes:
        if product.target not in _FACTORS or is_backward(product):
            continue
        for factor in product.args[_FACTORS[product.target]]:
            while getattr(factor.target, "is_view", False):  # to keep one keeps all it is a view of
                factor = factor.args[0]
            if isinstance(factor.target, torch._ops.OpOverload):
                yield factor


def _is_cast_input(node: fx.Node) -> bool:
    return node.target is CAST and node.all_input_nodes[0].op == "placeholder"


def _is_costly(target: object) -> bool:
    if target is torch.ops.higher_order.triton_kernel_wrapper_functional:
        return True
    return isinstance(target, torch._ops.OpOverload) and (
        target is _aten._scaled_dot_product_cudnn_attention.default
        or target.namespace not in ("aten", "prim", "prims", NORMS)
    )
