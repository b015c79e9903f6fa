"""Products of few rows by one weight are one product: a block's modulation, of all its passes.

The passes of a step run a block's layers each for itself. Of layers that see a condition instead of
tokens each product reads the whole weight for a few rows, and writes a whole gradient of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import fx
from torch._inductor.pattern_matcher import stable_topological_sort

from framework.training.graph_nodes import CAST, ancestors, is_backward

_aten = torch.ops.aten
_ROWS = 512  # a product of more is not bound by reading its weight


class _Origin(NamedTuple):
    """What a matrix is made of, by casts and transpositions alone."""

    source: fx.Node
    transposed: bool
    casts: tuple[torch.dtype, ...]


def join_products(graph: fx.Graph) -> None:
    """Join the products whose sum is one weight's gradient, and those by one weight."""
    for node in list(graph.nodes):
        products = _summed_products(node)
        if len(products) > 1:
            _join_sum(graph, node, products)
    graph.eliminate_dead_code()
    for products in _products_by_weight(graph).values():
        if len(products) > 1 and _independent(products):
            _join_rows(graph, products)
    stable_topological_sort(graph)
    graph.eliminate_dead_code()


def _products_by_weight(graph: fx.Graph) -> dict[tuple[_Origin, bool], list[fx.Node]]:
    """Return products of few rows by a weight, forward and backward apart."""
    found: dict[tuple[_Origin, bool], list[fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.target not in (_aten.mm.default, _aten.addmm.default) or node.kwargs:
            continue
        weight = _origin(node.args[-1])
        if weight.source.op == "placeholder" and node.meta["val"].shape[0] <= _ROWS:
            found[weight, is_backward(node)].append(node)
    return found


def _independent(products: list[fx.Node]) -> bool:
    """Return whether none of them waits for another."""
    return not any(ancestors(each) & set(products) for each in products)


def _join_rows(graph: fx.Graph, products: list[fx.Node]) -> None:
    """Multiply all rows by the weight at once; biases are added to each product's rows."""
    first = products[0]
    products = sorted(products, key=lambda each: _of(each.args[-2]))
    with graph.inserting_before(first):
        rows = _stacked(graph, first, [_of(each.args[-2]) for each in products])
        shape = (rows.meta["val"].shape[0], first.meta["val"].shape[1])
        whole = _made(graph, first, shape, _aten.mm.default, rows, first.args[-1])
        start = 0
        for each in products:
            value = each.meta["val"]
            end = start + value.shape[0]
            part = _made(graph, each, value.shape, _aten.slice.Tensor, whole, 0, start, end)
            if each.target is _aten.addmm.default:
                part = _made(graph, each, value.shape, _aten.add.Tensor, part, each.args[0])
            each.replace_all_uses_with(part)
            start = end


def _summed_products(node: fx.Node) -> list[fx.Node]:
    """Return products dYᵀ X of few rows that a node of the backward pass is the sum of, or none."""
    if not (_is_sum(node) and is_backward(node)) or any(map(_is_sum, node.users)):
        return []
    found = [_product_behind(each) for each in _addends(node)]
    products = [each for each in found if each is not None]
    alike = len({(each.meta["val"].dtype, each.meta["val"].shape) for each in products}) == 1
    return products if alike and len(products) == len(found) else []


def _addends(node: fx.Node) -> Iterator[object]:
    for each in node.args:
        if isinstance(each, fx.Node) and _is_sum(each) and len(each.users) == 1:
            yield from _addends(each)
        else:
            yield each


def _is_sum(node: fx.Node) -> bool:
    return node.target is _aten.add.Tensor and not node.kwargs


def _product_behind(addend: object) -> fx.Node | None:
    if not isinstance(addend, fx.Node):
        return None
    product, transposed, _ = _origin(addend)
    if transposed or product.target is not _aten.mm.default:
        return None
    left = _of(product.args[0])
    turned = left.target is _aten.permute.default and left.args[1] == [1, 0]
    return product if turned and left.meta["val"].shape[1] <= _ROWS else None


def _join_sum(graph: fx.Graph, total: fx.Node, products: list[fx.Node]) -> None:
    """Let one product sum over all rows: sums of products are then rounded once.

    The rows come in the order in which a joined product of the forward pass has put them together,
    so that the compiler takes both for one.
    """
    first = products[0]
    pairs = sorted((pair for each in products for pair in _factors(each)), key=itemgetter(1))
    with graph.inserting_before(total):
        gradients, inputs = (_stacked(graph, first, parts) for parts in zip(*pairs, strict=True))
        rows, columns = gradients.meta["val"].shape
        left = _made(graph, first, (columns, rows), _aten.permute.default, gradients, [1, 0])
        whole = _made(graph, first, first.meta["val"].shape, _aten.mm.default, left, inputs)
        sums = graph.call_function(CAST, (whole, total.meta["val"].dtype))
    sums.meta = dict(total.meta)
    total.replace_all_uses_with(sums)


def _factors(product: fx.Node) -> list[tuple[fx.Node, fx.Node]]:
    """Return dY and X of a product dYᵀ X, or of each of those that were joined into it."""
    gradients, inputs = _of(_of(product.args[0]).args[0]), _of(product.args[1])
    dY, X = _stack(gradients), _stack(inputs)
    alike = [each.meta["val"].shape[0] for each in dY] == [each.meta["val"].shape[0] for each in X]
    return list(zip(dY, X, strict=True)) if alike else [(gradients, inputs)]


def _stack(node: fx.Node) -> list[fx.Node]:
    """Return the matrices of which a node has the rows, one below the other."""
    if node.target is not _aten.cat.default or node.args[1:] not in ((), (0,)) or node.kwargs:
        return [node]
    parts: Any = node.args[0]
    return list(parts)


def _stacked(graph: fx.Graph, like: fx.Node, parts: Sequence[fx.Node]) -> fx.Node:
    """Return matrices of one width, one below the other."""
    rows = sum(each.meta["val"].shape[0] for each in parts)
    shape = (rows, parts[0].meta["val"].shape[1])
    return _made(graph, like, shape, _aten.cat.default, list(parts), 0)


def _made(graph: fx.Graph, like: fx.Node, shape: Any, target: Any, *args: Any) -> fx.Node:
    """Add a call of the pass of `like`, with a value of its type."""
    made = graph.call_function(target, args)
    value = like.meta["val"]
    with value.fake_mode:
        made.meta = {"val": value.new_empty(shape)}
    if is_backward(like):
        made.meta["partitioner_tag"] = "is_backward"
    return made


def _origin(matrix: object) -> _Origin:
    node, transposed, casts = _of(matrix), False, list[torch.dtype]()
    while node.target in (CAST, _aten.permute.default, _aten.alias.default):
        if node.target is _aten.permute.default:
            if node.args[1] != [1, 0]:
                break
            transposed = not transposed
        elif node.target is CAST:
            casts.append(node.meta["val"].dtype)
        node = _of(node.args[0])
    return _Origin(node, transposed, tuple(casts))


def _of(argument: object) -> fx.Node:
    assert isinstance(argument, fx.Node)
    return argument
