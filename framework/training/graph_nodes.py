"""What changes to compiled graphs share: our own operations in them, and what are views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx

_aten = torch.ops.aten
CAST = torch.ops.prims.convert_element_type.default
NORMS = "tvmlab_norm"  # the namespace of our own kernels but attention's
SHAPES = (_aten.alias.default, _aten.detach.default, _aten.view.default)  # the order stays
VIEWS = (*SHAPES, _aten.permute.default)


def calls(graph: fx.Graph, name: str) -> list[fx.Node]:
    """Return the calls of one of our operations, attention aside."""
    return [node for node in graph.nodes if str(node.target) == f"{NORMS}.{name}.default"]


def number_of(output: fx.Node) -> int:
    """Return which of an operation's outputs this is; those of a tangent are odd."""
    number: Any = output.args[1]
    return int(number)


def called(graph: fx.Graph, target: Callable[..., Any], node: fx.Node, *more: Any) -> fx.Node:
    """Add a call in the backward pass, with the value that the compiler needs to know of it."""
    made = graph.call_function(target, (node, *more))
    value = node.meta["val"]
    with value.fake_mode:
        made.meta = {"val": target(value, *more), "partitioner_tag": "is_backward"}
    return made


def ancestors(node: fx.Node) -> set[fx.Node]:
    """Return all that a node follows from."""
    return _reached(node, lambda each: each.all_input_nodes)


def descendants(node: fx.Node) -> set[fx.Node]:
    """Return all that follows from a node."""
    return _reached(node, lambda each: each.users)


def _reached(node: fx.Node, beside: Callable[[fx.Node], Iterable[fx.Node]]) -> set[fx.Node]:
    """Return all nodes that lead from one to those beside it, and on."""
    found: set[fx.Node] = set()
    left = [node]
    while left:
        new = [each for each in beside(left.pop()) if each not in found]
        found.update(new)
        left += new
    return found


def is_backward(node: fx.Node) -> bool:
    """Return whether a node belongs to the backward pass."""
    return node.meta.get("partitioner_tag") == "is_backward"


def summed_axes(node: fx.Node) -> set[int]:
    """Return the axes over which a node sums; none where it is no sum."""
    if node.target is not _aten.sum.dim_IntList:
        return set()
    summed: Any = node.args[0]
    axes: Any = node.args[1]
    dims = summed.meta["val"].ndim
    return {axis % dims for axis in axes or range(dims)}  # no axes are all of them
