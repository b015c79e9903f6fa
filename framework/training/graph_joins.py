"""Operations of a compiled backward pass that become one."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from framework.training.graph_nodes import calls, number_of, summed_axes

_aten = torch.ops.aten
_ORDERED = (_aten.alias.default, _aten.detach.default)
_SWAPS = ((_aten.permute.default, [0, 2, 1, 3]), (_aten.transpose.int, 1, 2))  # heads and tokens
_GRADIENTS = slice(5, 11)  # of a norm's backward: dq, dq', dk, dk', dv, dv'
_NUMBERS = (0, 3, 1, 4, 2, 5)  # of attention's backward, in that order
_TANGENTS = slice(5, 8)  # of attention's backward: q', k', v'


def join_head_norms(graph: fx.Graph) -> None:
    """Let attention's backward go on through the norm of its queries and keys.

    Gradients by normalised queries and keys are then neither written nor read. The graph is in
    topological order, and nothing else may read those gradients.
    """
    graph.eliminate_dead_code()  # from here on, to have a user is to be needed
    for norm in calls(graph, "head_norm_backward"):
        attention = _attention_of(norm)
        if attention is not None and _parts_are_summed(norm):
            _join(graph, attention, norm)
    graph.eliminate_dead_code()


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
    is_ours = str(attention.target) == "tvmlab_kernels.attention_jvp_backward.default"
    if not is_ours or len(attention.users) > len(results):
        return None
    fits = all((each is not None) == dual for each in attention.args[_TANGENTS])
    return attention if fits else None


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


def _join(graph: fx.Graph, attention: fx.Node, norm: fx.Node) -> None:
    """Put the joint operation in a norm's place: its results are the same."""
    operation = torch.ops.tvmlab_norm.attention_head_norm_backward.default
    arguments = (*attention.args, *norm.args[:5], norm.args[-1])
    with graph.inserting_before(norm):
        joint = graph.call_function(operation, arguments)
    values = fx.map_arg(arguments, lambda node: node.meta["val"])
    with norm.meta["val"][0].fake_mode:
        found = operation(*values)
    joint.meta = {"val": found, "partitioner_tag": "is_backward"}
    norm.replace_all_uses_with(joint)
    for result in joint.users:
        result.meta = {"val": found[number_of(result)], "partitioner_tag": "is_backward"}
