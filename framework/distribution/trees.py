"""Nested states: dictionaries, lists and tuples, with something at their leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def mapped(tree: Any, function: Callable[[str, Any], Any], path: str = "") -> Any:
    """Return a tree of the same form with function(path, leaf) at its leaves."""
    if isinstance(tree, dict):
        return {key: mapped(value, function, f"{path}/{key}") for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [mapped(value, function, f"{path}/{k}") for k, value in enumerate(tree)]
        return parts if isinstance(tree, list) else tuple(parts)
    return function(path, tree)
