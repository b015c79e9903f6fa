"""Checks for the author of a component: does it keep what the protocol of its kind promises?

from framework.testing import check_component

def test_my_loss():
    check_component("loss", "my_loss", target_decay=0.9)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework import plugins, registry
from framework.errors import UserError, a, nearest
from framework.kinds import KINDS
from framework.testing import data, learning, networks, optimizing, sampling
from framework.testing.building import build, settle

_CHECKS = {
    **networks.CHECKS,
    **learning.CHECKS,
    **optimizing.CHECKS,
    **data.CHECKS,
    **sampling.CHECKS,
}


def check_component(kind: str, name: str, **arguments: Any) -> None:
    """Build a registered component at a small size and check what its kind promises.

    Args:
        kind: Such as "loss".
        name: The name it is registered under.
        **arguments: Settings, and replacements for the arguments of its kind (`shape=(2,)` for a
            model of points). Components that it needs and does not get are the first registered.

    Raises:
        AssertionError: what it does not keep, one finding a line.
        UserError: no such kind or component is registered, or it cannot be built.
    """
    if kind not in KINDS:
        raise UserError(f"no kind is called '{kind}'{nearest(kind, KINDS)}")
    plugins.load_installed()
    component = registry.component(f"{KINDS[kind].module}.{name}")
    instance, given = build(component, arguments)
    problems = findings(component, instance, given)
    if problems:
        raise AssertionError("\n".join(f"{component.selector}: {problem}" for problem in problems))


def findings(component: registry.Component, instance: Any, given: Mapping[str, Any]) -> list[str]:
    """Return what an instance of a component, built with `given`, does not keep."""
    lacking = _members(component, instance)
    if lacking:
        return lacking
    settle(instance)
    return list(_CHECKS[component.kind.name](instance, given))


def _members(component: registry.Component, instance: object) -> list[str]:
    """Return which methods and attributes of the protocol an instance lacks."""
    kind = component.kind
    method = registry.missing_members(kind, instance)
    attributes = [name for name in kind.protocol.__annotations__ if not hasattr(instance, name)]
    lacking = [f"lacks the attribute '{name}', which {a(kind.name)} has" for name in attributes]
    return [*([method] if method else []), *lacking]
