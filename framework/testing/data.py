"""Checks of datasets and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from framework.answers import wrong_scores
from framework.protocols import Examples, FieldMetric
from framework.results.names import plain_metric
from framework.testing.findings import Findings, Given, Hint, tensor


def dataset(data: Any, given: Given) -> Findings:
    """Check examples, labels and pictures."""
    count = min(2, len(data))
    if count == 0:
        yield "it has no training examples"
        return
    u = torch.full((count, 2), 0.5, dtype=torch.float64)
    found, held_out = data.examples(torch.arange(count), u), data.held_out()
    wrong = [*_examples("examples", found, data, count), *_examples("held_out()", held_out, data)]
    wrong += tensor("labels()", data.labels(), (len(data),), torch.int64)
    yield from wrong
    if any(not isinstance(problem, Hint) for problem in wrong):
        return
    yield from _same_examples(found, data, u)
    pictures = data.images(found.x)
    if pictures.dtype != torch.uint8 or pictures.dim() != 4 or pictures.shape[-1] not in (1, 3):
        shape = tuple(pictures.shape)
        yield f"images gives {pictures.dtype} {shape} instead of uint8 (B, H, W, 1 or 3)"


def _examples(name: str, found: object, data: Any, count: int | None = None) -> Findings:
    """Check examples, of which there are `count`, or as many as there are labels."""
    if not isinstance(found, Examples):
        yield f"{name} is a {type(found).__name__} instead of Examples"
        return
    count = len(found.labels) if count is None else count
    yield from tensor(f"x of {name}", found.x, (count, *data.shape), torch.float32)
    wrong = list(tensor(f"labels of {name}", found.labels, (count,), torch.int64))
    yield from wrong
    if not wrong and _out_of_range(found.labels, data):
        yield f"some labels of {name} are not below num_classes = {data.num_classes}"


def _same_examples(found: Examples, data: Any, u: torch.Tensor) -> Findings:
    """Check that examples are a function of index and uniforms, with the labels of `labels()`."""
    labels = data.labels()
    if _out_of_range(labels, data):
        yield f"some labels of labels() are not below num_classes = {data.num_classes}"
    if not torch.equal(labels[: len(u)], found.labels):
        yield "labels() gives other labels than the examples of the same indices have"
    again = data.examples(torch.arange(len(u)).flip(0), u)
    if not torch.allclose(again.x.flip(0), found.x, rtol=1e-4, atol=1e-4):
        yield Hint(
            "the same index and uniforms give another example: it draws numbers of its own, or "
            "does not go by `indices`"
        )


def _out_of_range(labels: torch.Tensor, data: Any) -> bool:
    return bool(((labels < 0) | (labels >= data.num_classes)).any())


def metric(judge: Any, given: Given) -> Findings:
    """Check the scores of the dataset's own examples."""
    x, labels = _all_of(given["dataset"])
    kept = x.clone()
    scores = judge(x, labels)
    wrong = list(wrong_scores(scores))
    yield from wrong
    if not torch.equal(x, kept):
        yield "it changes the samples that it is given, and other metrics would judge those"
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
    return judge(*_all_of(data))


def _all_of(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    u = torch.full((len(data), 2), 0.5, dtype=torch.float64)
    examples = data.examples(torch.arange(len(data)), u)
    return examples.x, examples.labels


CHECKS: dict[str, Callable[[Any, Given], Findings]] = {"dataset": dataset, "metric": metric}
