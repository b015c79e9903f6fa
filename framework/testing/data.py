"""Checks of datasets and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from framework.answers import wrong_scores
from framework.protocols import Examples, FieldMetric
from framework.results.names import plain_metric
from framework.testing.findings import Findings, Hint, tensor

Given = Mapping[str, Any]


def dataset(data: Any, given: Given) -> Findings:
    """Check examples, labels and pictures."""
    count = min(2, len(data))
    if count == 0:
        yield "it has no training examples"
        return
    u = torch.full((count, 2), 0.5, dtype=torch.float64)
    yield from _examples("examples", data.examples(torch.arange(count), u), data, count)
    held_out = data.held_out()
    yield from _examples("held_out()", held_out, data, len(held_out.labels))
    yield from tensor("labels()", data.labels(), (len(data),), torch.int64)
    pictures = data.images(data.examples(torch.arange(count), u).x)
    if pictures.dtype != torch.uint8 or pictures.dim() != 4 or pictures.shape[-1] not in (1, 3):
        shape = tuple(pictures.shape)
        yield f"images gives {pictures.dtype} {shape} instead of uint8 (B, H, W, 1 or 3)"


def _examples(name: str, found: object, data: Any, count: int) -> Findings:
    if not isinstance(found, Examples):
        yield f"{name} is a {type(found).__name__} instead of Examples"
        return
    yield from tensor(f"x of {name}", found.x, (count, *data.shape), torch.float32)
    yield from tensor(f"labels of {name}", found.labels, (count,), torch.int64)
    if ((found.labels < 0) | (found.labels >= data.num_classes)).any():
        yield f"some labels of {name} are not below num_classes = {data.num_classes}"


def metric(judge: Any, given: Given) -> Findings:
    """Check the scores of the dataset's own examples."""
    scores = scores_of_examples(judge, given["dataset"])
    wrong = list(wrong_scores(scores))
    yield from wrong
    if wrong:
        return
    if not scores and not isinstance(judge, FieldMetric):
        yield Hint("it returns no scores")
    declared = vars(type(judge)).get("score_names")
    for score in scores:
        if not math.isfinite(score.value):
            yield Hint(f"the score '{score.name}' is {float(score.value)}")
        if declared is not None and plain_metric(score.name) not in declared:
            yield f"the score '{score.name}' is not one of its score_names, {declared}"


def scores_of_examples(judge: Any, data: Any) -> Any:
    """Return what a metric makes of a dataset's examples."""
    u = torch.full((len(data), 2), 0.5, dtype=torch.float64)
    examples = data.examples(torch.arange(len(data)), u)
    return judge(examples.x, examples.labels)


CHECKS: dict[str, Callable[[Any, Given], Findings]] = {"dataset": dataset, "metric": metric}
