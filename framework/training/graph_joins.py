"""Operations of a compiled backward pass that become one."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import fx

from framework.training.graph_nodes import called, calls, number_of, summed_axes

_aten = torch.ops.aten
_ORDERED = (_aten.alias.default, _aten.detach.default)
_SWAPS = ((_aten.permute.default, [0, 2, 1, 3]), (_aten.transpose.int, 1, 2))  # heads and tokens
_GRADIENTS = slice(5, 11)  # of a norm's backward: dq, dq', dk, dk', dv, dv'
_NUMBERS = (0, 3, 1, 4, 2, 5)  # of attention's backward, in that order
_TANGENTS = slice(5, 8)  # of attention's backward: q', k', v'
_CUDNN = _aten._scaled_dot_product_cudnn_attention_backward.default
_SHORT = 512  # tokens; from some number on cuDNN's backward is the faster one


def join_head_norms(graph: fx.Graph) -> None:
    """Let attention's backward go on through the norm of its queries and keys.

    Gradients by normalised queries and keys are then neither written nor read. The graph is in
    topological order, and nothing else may read those gradients. Where there are no tangents and
    few tokens our kernels take cuDNN's place: at 256 their backward passes, the norm's not
    counted, take 3.8 ms of a step of XL/2 on an H100, and cuDNN's 4.6.
    """
    graph.eliminate_dead_code()  # from here on, to have a user is to be needed
    joined = []
    for norm in calls(graph, "head_norm_backward"):
        attention = _attention_of(norm)
        if attention is not None and _parts_are_summed(norm):
            with graph.inserting_before(norm):
                _join(graph, _arguments_of(graph, attention), norm)
            joined.append(attention)
    graph.eliminate_dead_code()
    for attention in joined:  # cuDNN's counts as random, and is left there
        if attention in graph.nodes:
            graph.erase_node(attention)


def _attention_of(norm: fx.Node) -> fx.Node | None:
    """Return the attention whose backward gives all that a norm's backward takes, to it alone."""
    dual = norm.args[1] is not None
    gradients: Any = norm.args[_GRADIENTS]
    step = 1 if dual else 2
    results = [_result_behind(each) for each in gradients[::step]]
    attention = results[0].args[0] if results[0] is not None else None
    expected = [(attention, number) for number in _NUMBERS[::step]]
    if not isinstance(attention, fx.Node) or [r and r.args for r in results] != expected:
        return None
    if len(attention.users) > len(results):
        return None
    fits = (
        _is_short(attention) and not dual if attention.target is _CUDNN else _ours(attention, dual)
    )
    return attention if fits else None


def _ours(attention: fx.Node, dual: bool) -> bool:
    """Return whether this is our attention, with all tangents or with none."""
    named = str(attention.target) == "tvmlab_kernels.attention_jvp_backward.default"
    return named and all((each is not None) == dual for each in attention.args[_TANGENTS])


def _is_short(attention: fx.Node) -> bool:
    """Return whether our kernels do what cuDNN's attention does here, and do it faster."""
    q: Any = attention.args[1]
    bias, dropout = attention.args[8], attention.args[13]
    _, _, N, D = q.meta["val"].shape
    return bool(N <= _SHORT and D <= 64 and bias is None and dropout == 0.0)


def _result_behind(gradient: object) -> fx.Node | None:
    """Return the operation's result whose heads and tokens are swapped here and nowhere else."""
    swapped = False
    while isinstance(gradient, fx.Node) and len(gradient.users) == 1:
        if gradient.target is operator.getitem:
            return gradient if swapped else None
        if (gradient.target, *gradient.args[1:]) in _SWAPS:
            swapped = not swapped
        elif gradient.target not in _ORDERED:
            return None
        gradient = gradient.args[0]
    return None


def _parts_are_summed(norm: fx.Node) -> bool:
    """Return whether only sums over parts are taken of what comes in parts, however many."""
    parts = [each for each in norm.users if number_of(each) > 1]
    return all(0 in summed_axes(user) for each in parts for user in each.users)


def _arguments_of(graph: fx.Graph, attention: fx.Node) -> tuple[Any, ...]:
    """Return what our attention's backward would take."""
    if attention.target is not _CUDNN:
        return attention.args
    do, q, k, v, o, lse = (_node(each) for each in attention.args[:6])
    scale = attention.kwargs.get("scale") or q.meta["val"].shape[3] ** -0.5
    natural = called(graph, _aten.view.default, lse, list(q.meta["val"].shape[:3]))
    base_2 = called(graph, _aten.mul.Tensor, natural, math.log2(math.e))
    mu = called(graph, _aten.mul.Tensor, base_2, 0.0)  # of no tangent
    return do, None, q, k, v, None, None, None, o, o, base_2, mu, scale, attention.args[14], False


def _node(argument: Any) -> fx.Node:
    assert isinstance(argument, fx.Node)
    return argument


def _join(graph: fx.Graph, attention: tuple[Any, ...], norm: fx.Node) -> None:
    """Put the joint operation in a norm's place: its results are the same."""
    operation = torch.ops.tvmlab_norm.attention_head_norm_backward.default
    arguments = (*attention, *norm.args[:5], norm.args[-1])
    joint = graph.call_function(operation, arguments)
    values = fx.map_arg(arguments, lambda node: node.meta["val"])
    with norm.meta["val"][0].fake_mode:
        found = operation(*values)
    joint.meta = {"val": found, "partitioner_tag": "is_backward"}
    norm.replace_all_uses_with(joint)
    for result in joint.users:
        result.meta = {"val": found[number_of(result)], "partitioner_tag": "is_backward"}
