"""What a grid is expected to show: `grid.claims`, published figures beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from framework.configuration import text
from framework.errors import UserError, nearest

Relation = Literal["better", "worse", "higher", "lower", "below"]
Summary = Literal["mean", "roughness", "rise"]
Cost = Literal["step", "time", "flops"]


@dataclass(frozen=True)
class Claim:
    """That one arm does better or worse than another, or that one metric bounds another.

    Attributes:
        arm: The arm that the claim is about; "" for all.
        relation: `better` or `worse` by the metric's own direction, `higher` or `lower` as numbers;
            `below` says that `metric` never exceeds the metric `than`, at any evaluation.
        than: The arm compared with.
        published: What was published, as text: the figures, arm first.
        metric: An evaluated metric, or the tag of a logged scalar; None for the grid's own metric.
        nfe: Network evaluations; None for the grid's own.
        w: Guidance weight of the evaluation; None for the first that all arms have.
        summary: What one number a run stands for a scalar's curve: its mean, its `roughness` or its
            largest `rise`, see `framework.report.scalars`.
        equal: Which cost is held equal; None compares finished runs.
    """

    arm: str
    relation: Relation
    than: str
    published: str = ""
    metric: str | None = None
    nfe: int | None = None
    w: float | None = None
    summary: Summary | None = None
    equal: Cost | None = None

    @classmethod
    def read(cls, index: int, values: Any) -> Claim:
        """Return a claim from what a gin file says of it, with `is` for the relation.

        Raises:
            UserError: it is of another form.
        """
        where = f"grid.claims[{index}]"
        if not isinstance(values, Mapping):
            raise UserError(
                f"{where} needs {{'arm': ..., 'is': ..., 'than': ...}}, not {text(values)}"
            )
        given = {"relation" if name == "is" else str(name): value for name, value in values.items()}
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise UserError(f"{where} has no '{name}'{nearest(name, known)}")
        missing = [name for name in ("is", "than") if name not in values]
        if missing or (given["relation"] != "below" and not given.get("arm")):
            raise UserError(f"{where} lacks '{(missing or ['arm'])[0]}'")
        for name, kind in (("relation", Relation), ("summary", Summary), ("equal", Cost)):
            value = given.get(name)
            if value is not None and value not in get_args(kind):
                said = "is" if name == "relation" else name
                raise UserError(f"{where}: '{said}' is one of {', '.join(get_args(kind))}")
        return cls(**{"arm": "", **given})

    @property
    def condition(self) -> str:
        """Where the claim is made, in words."""
        parts = [self.summary and f"{self.summary} of", self.metric]
        at = [f"{self.nfe} NFE"] if self.nfe is not None else []
        at += [f"w = {self.w:g}"] if self.w is not None else []
        at += [f"equal {self.equal}"] if self.equal else []
        return " ".join([*filter(None, parts), *([f"at {', '.join(at)}"] if at else [])])
