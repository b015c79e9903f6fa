"""Components that are not this project's, tried on small stand-ins before a run starts.

What breaks the protocol of its kind can train all the same, and be silently wrong. A model is left
out: it is run at its own size on the meta device.
"""

from __future__ import annotations

import logging

import torch

from framework import plugins
from framework.answers import twice
from framework.configuration import Resolved
from framework.configuration.building import build_component
from framework.configuration.resolved import Node
from framework.configuration.values import references, scoped
from framework.errors import UserError
from framework.protocols import Dataset, Loss
from framework.registry import Component
from framework.testing import findings
from framework.testing.building import Pictures, stand_ins
from framework.testing.data import scores_of_examples
from framework.testing.findings import Hint, Still
from framework.training import demands

log = logging.getLogger(__name__)


def check(resolved: Resolved, dataset: Dataset, loss: Loss) -> None:
    """Try each component of an active configuration that comes from a plug-in or another package.

    One that cannot be tried, since it wants a GPU or other sizes, say, is warned of.

    Raises:
        UserError: one breaks its protocol, or two metrics return one score.
    """
    judges = {(each.scope, each.selector) for each in resolved.settings["evaluation.metrics"]}
    owners: dict[str, str] = {}
    with torch.random.fork_rng(devices=[]):
        for node in resolved.nodes:
            component = node.target
            if not isinstance(component, Component) or plugins.is_own(component.module):
                continue
            try:
                found, scores = _try(component, node.scope, dataset)
            # A component is a user's own code, and a stand-in is not what it was written for.
            except Exception as error:  # noqa: BLE001
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                log.warning("%s was not tried before training: %s", component.selector, reason)
                continue
            problems = [p for p in found if _harms(p, loss, dataset)]
            if problems:
                more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
                raise UserError(f"{_called(node, resolved)}: {problems[0]}{more}")
            for score in scores if (node.scope, node.selector) in judges else []:
                name = scoped(node.scope, node.selector)
                if score in owners:
                    raise UserError(twice(owners[score], name, score))
                owners[score] = name


def _try(component: Component, scope: str, dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return what a component does not keep, and the names of its scores, if it is a metric."""
    kind, given = component.kind.name, stand_ins(component.kind)
    if kind == "model":
        return [], []
    if kind == "metric":
        given["dataset"] = Pictures(shape=dataset.shape, num_classes=dataset.num_classes)
    instance = dataset if kind == "dataset" else build_component(component, scope, given)
    problems = findings(component, instance, given)
    if any(not isinstance(p, Hint) for p in problems) or kind != "metric":
        return problems, []
    return [], [score.name for score in scores_of_examples(instance, given["dataset"])]


def _harms(problem: str, loss: Loss, dataset: Dataset) -> bool:
    """Return whether a run with this loss is refused for a finding."""
    if isinstance(problem, Still):
        return bool(demands.of_loss(loss, dataset).trained.moving)
    return not isinstance(problem, Hint)


def _called(node: Node, resolved: Resolved) -> str:
    """Return a component's name and the settings that refer to it."""
    place = (node.scope, node.selector)
    users = [
        name
        for name, value in resolved.settings.items()
        if any((each.scope, each.selector) == place for each in references(value))
    ]
    return f"{node.selector} ({', '.join(users)})"
