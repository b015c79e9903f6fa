"""Whether runs will have what their grid ranks by: asked before they train, not after."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from framework import registry
from framework.configuration import Resolved
from framework.errors import UserError, nearest
from framework.grid.settings import Grid
from framework.results.names import UNGROUPED, plain_metric


def check(grid: Grid, cells: Iterable[tuple[str, Resolved]]) -> str:
    """Compare `grid.metric` and `grid.metric_nfe` with how each cell, (arm, run), is evaluated.

    Returns:
        What cannot be known, in a sentence, or "".

    Raises:
        UserError: a cell will have no such score; the message names its arm.
    """
    name = plain_metric(grid.metric)
    if "/" in name or name in UNGROUPED:  # a scalar that training logs
        return ""
    doubt = ""
    for arm, run in cells:
        nfe = run.settings.get("evaluation.nfe")
        chosen = run.settings.get("evaluation.metrics", ())
        metrics = [registry.component(each.selector) for each in chosen]
        known, silent = _returned(metrics, nfe)
        if not metrics:
            doubt = f"arm '{arm}' has no evaluation.metrics: no report can rank by '{name}'"
        elif name in known:
            pass
        elif silent:
            doubt = (
                f"grid.metric = '{name}': whether {silent[0]} returns it is not known before "
                "training, since it has no score_names"
            )
        else:
            raise UserError(
                f"grid.metric is '{name}', and the metrics of arm '{arm}' return "
                f"{', '.join(sorted(known))}{nearest(name, known)}"
            )
        if metrics:
            _check_nfe(grid.metric_nfe, arm, nfe, metrics)
    return doubt


def _returned(metrics: list[registry.Component], nfe: Any) -> tuple[set[str], list[str]]:
    """Return the scores that metrics say they return, and those that do not say."""
    known = {"nfe"} if nfe is None else set()
    silent = []
    for metric in metrics:
        declared = vars(metric.build).get("score_names")  # a derived metric may return others
        known |= set(declared or ())
        silent += [] if declared else [metric.selector]
    return known, silent


def _check_nfe(wanted: int | None, arm: str, nfe: Any, metrics: list[registry.Component]) -> None:
    """Refuse an NFE that an arm is not evaluated at.

    Metrics of the flow itself judge one jump, whatever its samples take, and a sampler that
    chooses the number has scores without one.
    """
    if wanted is None or nfe is None or wanted in nfe:
        return
    if wanted == 1 and any(_may_judge_the_flow(metric.build) for metric in metrics):
        return
    there = ", ".join(map(str, nfe)) or "none"
    raise UserError(
        f"grid.metric_nfe is {wanted}, and evaluation.nfe of arm '{arm}' is {there}: evaluate at "
        f"{wanted} too, or rank by another"
    )


def _may_judge_the_flow(build: Callable[..., Any]) -> bool:
    return not inspect.isclass(build) or hasattr(build, "field_scores")
