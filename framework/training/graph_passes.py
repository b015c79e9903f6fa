"""Changes to the graph of a compiled forward and backward pass, before the compiler parts them."""

from __future__ import annotations

import operator

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch._inductor.pattern_matcher import stable_topological_sort
from torch.utils.checkpoint import CheckpointPolicy

_aten = torch.ops.aten
_NORMS = "tvmlab_norm"  # the namespace of our own norms
_VIEWS = (_aten.alias.default, _aten.detach.default, _aten.view.default)
_RESULTS = {2: 6, 3: 7}  # y and y' among what a modulated norm gives, and its backward again
_AGAIN = 15  # the place of that wish among the backward's arguments


class LeanGraph(CustomGraphPass):
    """Keep what is costly to compute again, and compute in passing what is not."""

    def __call__(self, graph: fx.Graph) -> None:
        """Change a graph of forward and backward pass in place."""
        give_again(graph)
        keep_costly(graph)

    def uuid(self) -> str:
        """Return what the compiler's cache knows this pass by."""
        return "tvmlab: keep cuDNN attention and custom operations, norms give again"


def keep_costly(graph: fx.Graph) -> None:
    """Mark what is kept though PyTorch knows no cost of it: cuDNN's attention, custom operations.

    Otherwise every plain pass would attend a second time in its backward pass. Our own norms are
    custom operations too, but cost little more than reading what they would have kept.
    """
    for node in graph.nodes:
        if _is_costly(node.target):
            node.meta["recompute"] = CheckpointPolicy.MUST_SAVE


def give_again(graph: fx.Graph) -> None:
    """Let the backward of a modulated norm give its results once more, if they are needed then.

    The layer after the norm needs them for the gradient of its weights. The norm's backward has
    all that they follow from in registers: that costs a write, a second forward all it reads too.
    """
    norms = {_inputs(node): node for node in graph.nodes if _is_norm(node, "modulated_norm")}
    found = [node for node in graph.nodes if _is_norm(node, "modulated_norm_backward")]
    for backward in found:
        forward = norms.get(_inputs(backward))
        results = [] if forward is None else list(forward.users)
        for result in results:
            place = result.args[1]
            if place in _RESULTS and not (place == 3 and backward.args[1] is None):
                _give(graph, result, backward, _RESULTS[place])
    if found:
        stable_topological_sort(graph)


def _give(graph: fx.Graph, result: fx.Node, backward: fx.Node, place: int) -> None:
    """Let what comes in the backward pass use output `place` of `backward` instead of a result."""
    with graph.inserting_after(backward):
        again = graph.call_function(operator.getitem, (backward, place))
    again.meta = result.meta | {"partitioner_tag": "is_backward"}
    values = list(backward.meta["val"])
    values[place] = result.meta["val"]
    backward.meta["val"] = tuple(values)
    backward.args = (*backward.args[:_AGAIN], True)
    _hand_over(graph, result, again)


def _hand_over(graph: fx.Graph, before: fx.Node, now: fx.Node) -> None:
    """Give users in the backward pass another input, those behind views too."""
    for user in list(before.users):
        if user.meta.get("partitioner_tag") == "is_backward":
            user.replace_input_with(before, now)
        elif user.target in _VIEWS:
            with graph.inserting_after(now):
                view = graph.node_copy(user, lambda x: now if x is before else x)
            view.meta["partitioner_tag"] = "is_backward"
            _hand_over(graph, user, view)
    if not now.users and now.target in _VIEWS:
        graph.erase_node(now)


def _inputs(norm: fx.Node) -> tuple[object, ...]:
    """What a modulated norm is of: tokens, branch and vectors, whatever views lead there."""
    return tuple(_behind_views(norm.args[place]) for place in (0, 2, 8))


def _behind_views(x: object) -> object:
    while isinstance(x, fx.Node) and x.target in _VIEWS:
        x = x.args[0]
    return x


def _is_norm(node: fx.Node, name: str) -> bool:
    return str(node.target) == f"{_NORMS}.{name}.default"


def _is_costly(target: object) -> bool:
    if target is torch.ops.higher_order.triton_kernel_wrapper_functional:
        return True
    return isinstance(target, torch._ops.OpOverload) and (
        target is _aten._scaled_dot_product_cudnn_attention.default
        or target.namespace not in ("aten", "prim", "prims", _NORMS)
    )
