"""Changes to the graph of a compiled forward and backward pass, before the compiler parts them."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._inductor.pattern_matcher import stable_topological_sort

from framework.training.graph_activations import join_activations
from framework.training.graph_joins import join_head_norms
from framework.training.graph_kept import Kept, mark_kept
from framework.training.graph_mutations import refuse_changes
from framework.training.graph_nodes import (
    CAST,
    SHAPES,
    VIEWS,
    ancestors,
    called,
    calls,
    is_backward,
    number_of,
    summed_axes,
)
from framework.training.graph_products import join_products

_aten = torch.ops.aten


@dataclass(frozen=True)
class _Operation:
    """One of our operations, with what its backward can give besides gradients.

    Attributes:
        forward: its name.
        inputs: how many inputs, each followed by its tangent, forward and backward begin with.
        results: for the place of each result that of the backward's output which gives it again.
        wish: the place of the backward's argument that asks for them.
        sums: places of a gradient, and of sums over parts of its rows, among those outputs.
        eps: its places among the forward's arguments and the backward's.
    """

    forward: str
    inputs: int
    results: Mapping[int, int]
    wish: int
    sums: tuple[int, int]
    eps: tuple[int, int] | None = None

    def has_backward(self, forward: fx.Node, backward: fx.Node) -> bool:
        """Return whether a backward's inputs are a forward's, whatever views lead there.

        It may lack tangents: where they are detached.
        """
        if self.eps is not None and forward.args[self.eps[0]] != backward.args[self.eps[1]]:
            return False
        pairs = zip(forward.args[: 2 * self.inputs], backward.args, strict=False)
        return all(
            _behind_views(given) is _behind_views(taken) or (place % 2 == 1 and taken is None)
            for place, (given, taken) in enumerate(pairs)
        )


_OPERATIONS = (
    _Operation("modulated_norm", 5, results={2: 7, 3: 8}, wish=15, sums=(2, 6), eps=(10, 14)),
    _Operation("gelu", 1, results={0: 3, 1: 4}, wish=4, sums=(0, 2)),
    _Operation("head_norm", 1, results={}, wish=0, sums=(0, 4)),
)


class LeanGraph(CustomGraphPass):
    """Keep what is costly to compute again, and compute in passing what is not."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def __call__(self, graph: fx.Graph) -> None:
        """Change a graph of forward and backward pass in place.

        Raises:
            RuntimeError: it cannot be compiled.
        """
        refuse_changes(graph)
        join_products(graph)
        join_activations(graph)
        for operation in _OPERATIONS:
            give_again(graph, operation)
            give_sums(graph, operation)
        if not self._kept.heads:
            make_plain_again(graph)
        stable_topological_sort(graph)
        join_head_norms(graph)
        mark_kept(graph, self._kept)

    def uuid(self) -> bytes:
        """Return what the compiler's cache knows this pass by, and all that graphs follow from."""
        return get_hash_for_files(sources(), f"tvmlab: {self._kept}")


def sources() -> tuple[str, ...]:
    """Return the files that a compiled graph follows from but for what was traced.

    They are these passes, and our operations with their reverse rules: the compiler's cache would
    go on with graphs of those that were there before.
    """
    here = Path(__file__).parent.glob("graph_*.py")
    kernels = find_spec("kernels")
    folders = [] if kernels is None else kernels.submodule_search_locations or []
    found = [*here, *(file for folder in folders for file in Path(folder).glob("*.py"))]
    return tuple(sorted(map(str, found)))


def give_again(graph: fx.Graph, operation: _Operation) -> None:
    """Let the backward of an operation give its results once more, if they are needed then.

    The layer behind it needs them for the gradient of its weights. The backward has all that they
    follow from in registers: that costs a write, a second forward all it reads too. Nothing is
    gained where the backward itself waits for what reads them: a gate's other factor, say.
    """
    for backward in calls(graph, f"{operation.forward}_backward"):
        forwards = calls(graph, operation.forward)
        forward = next((each for each in forwards if operation.has_backward(each, backward)), None)
        before = ancestors(backward)
        for result in [] if forward is None else list(forward.users):
            number = number_of(result)
            place = operation.results.get(number)
            if place is None or (number % 2 and backward.args[1] is None):
                continue
            if before.isdisjoint(_readers(result)):
                again = _output(graph, backward, place, result.meta["val"])
                _ask(backward, operation.wish)
                _hand_over(graph, result, again)


def give_sums(graph: fx.Graph, operation: _Operation) -> None:
    """Take the sum of a gradient over rows, a layer's for its bias, from parts that are there."""
    gradient, parts = operation.sums
    for backward in calls(graph, f"{operation.forward}_backward"):
        rows = [user for user in backward.users if number_of(user) == gradient]
        for total in [each for node in rows for each in _sums_over_rows(node)]:
            sums = _output(graph, backward, parts, backward.meta["val"][parts])
            with graph.inserting_before(total):
                added = called(graph, _aten.sum.dim_IntList, sums, [0], True)
                shape, dtype = total.meta["val"].shape, total.meta["val"].dtype
                cast = called(graph, CAST, added, dtype)
                total.replace_all_uses_with(called(graph, _aten.view.default, cast, list(shape)))
            graph.erase_node(total)


def make_plain_again(graph: fx.Graph) -> None:
    """Normalise heads again in the backward pass, without tangents where those are detached.

    The norm cannot be run again as it was: its tangents are not kept. Queries and keys would be.
    """
    for norm in calls(graph, "head_norm"):
        used = {number_of(each): each for each in norm.users if any(_readers(each))}
        if norm.args[1] is None or not used or any(number % 2 for number in used):
            continue
        with graph.inserting_after(norm):
            plain = graph.node_copy(norm)
        plain.args = (plain.args[0], None, *plain.args[2:])
        plain.meta["partitioner_tag"] = "is_backward"
        for number, result in used.items():
            again = _output(graph, plain, number, result.meta["val"])
            _hand_over(graph, result, again)


def _readers(node: fx.Node) -> Iterator[fx.Node]:
    """Yield what reads a node, or a view of it, in the backward pass."""
    for user in node.users:
        if is_backward(user):
            yield user
        elif user.target in VIEWS:
            yield from _readers(user)


def _output(graph: fx.Graph, backward: fx.Node, place: int, value: object) -> fx.Node:
    """Return output `place` of an operation in the backward pass, which is like `value`."""
    with graph.inserting_after(backward):
        output = graph.call_function(operator.getitem, (backward, place))
    output.meta = {"val": value, "partitioner_tag": "is_backward"}
    values = list(backward.meta["val"])
    values[place] = value
    backward.meta["val"] = tuple(values)
    return output


def _ask(backward: fx.Node, wish: int) -> None:
    backward.args = (*backward.args[:wish], True)


def _sums_over_rows(node: fx.Node) -> Iterator[fx.Node]:
    """Yield sums over all axes but the last, those behind views too."""
    rows = set(range(node.meta["val"].ndim - 1))
    for user in node.users:
        if user.target in SHAPES and user.meta["val"].shape[-1] == node.meta["val"].shape[-1]:
            yield from _sums_over_rows(user)
        elif rows and summed_axes(user) == rows:
            yield user


def _hand_over(graph: fx.Graph, before: fx.Node, now: fx.Node) -> None:
    """Give users in the backward pass another input, those behind views too."""
    for user in list(before.users):
        if is_backward(user):
            user.replace_input_with(before, now)
        elif user.target in VIEWS:
            with graph.inserting_after(now):
                view = graph.node_copy(user, lambda x: now if x is before else x)
            view.meta["partitioner_tag"] = "is_backward"
            _hand_over(graph, user, view)
    if not now.users and now.target in VIEWS:
        graph.erase_node(now)


def _behind_views(x: object) -> object:
    """Return what a node is a view of, in the same shape."""
    while isinstance(x, fx.Node) and x.target in SHAPES:
        base = x.args[0]
        if not isinstance(base, fx.Node) or x.meta["val"].shape != base.meta["val"].shape:
            break
        x = base
    return x
