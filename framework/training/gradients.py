"""The gradient of one batch, in micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from framework.distribution import World
from framework.distribution.placement import Placement
from framework.errors import UserError
from framework.protocols import Batch, Evaluate, Loss, LossTerms
from framework.sections import section
from framework.training.observation import observed_terms, reduced


@dataclass(frozen=True)
class Summary:
    """The mean loss of the global batch and what was observed of it, 0-d each, without gradient."""

    loss: Tensor
    observed: Mapping[str, Tensor]


@dataclass(frozen=True)
class Gradients:
    """Adds the gradient of a batch's mean loss to the parameters.

    The batch, or this process's part of it, goes through in `pieces` equal micro-batches. Draws
    belong to samples and the loss is a mean over the global batch, so that neither the number of
    micro-batches nor that of processes changes sums by more than rounding.
    """

    loss: Loss
    evaluate: Evaluate
    scale: Callable[[Tensor], Tensor]
    placement: Placement
    world: World
    pieces: int = 1
    _columns: list[str] = field(default_factory=list, init=False)  # parts, as all name them

    def __call__(self, batch: Batch) -> Summary:
        """Run forward and backward passes on this process's part of the global batch."""
        return self.of_all(self.own(batch))

    def own(self, batch: Batch) -> LossTerms:
        """Add the gradient of this process's part of the batch, and return the terms of that part.

        Gradients may leave for other processes as soon as they are complete.
        """
        pieces = enumerate(micro_batches(batch, self.pieces), start=1)
        return joined([self.piece(piece, number == self.pieces) for number, piece in pieces])

    def piece(self, piece: Batch, last: bool = False) -> LossTerms:
        """Add the gradient of a micro-batch; gradients may leave with the last one."""
        size = len(piece.x0) * self.pieces * self.world.size
        terms = observed_terms(self.loss, piece, self.evaluate)
        with section("backward"):
            self.placement.before_backward(last=last)
            self.scale(terms.total.sum() / size).backward()
        return LossTerms(terms.total.detach(), terms.parts)

    def of_all(self, own: LossTerms) -> Summary:
        """Let gradients be those of all processes, and return what their terms come to."""
        with section("backward"):
            self.placement.reduce()
        terms = self._everyones(own)
        return Summary(terms.total.mean(), reduced(terms))

    def _everyones(self, terms: LossTerms) -> LossTerms:
        """Return the terms of the global batch, in the order of its samples.

        Raises:
            UserError: a part of the loss was in no process at the first step.
        """
        if self.world.size == 1:
            return terms
        if not self._columns:
            names = self.world.everyones(["", *terms.parts])
            self._columns.extend(dict.fromkeys(name for own in names for name in own))
        columns = {"": terms.total, **terms.parts}
        if strange := columns.keys() - self._columns:
            raise UserError(
                f"the part '{min(strange)}' of the loss's terms was not there at the first step: "
                "for several processes, return it at every step, NaN for samples that lack it"
            )
        own = [_or_absent(columns.get(name), terms.total) for name in self._columns]
        rows = torch.stack(own, dim=1)
        found = dict(zip(self._columns, self.world.gathered(rows).unbind(dim=1), strict=True))
        return LossTerms(found.pop(""), found)


def joined(pieces: Sequence[LossTerms]) -> LossTerms:
    """Return the terms of micro-batches as those of one batch; what one lacks is NaN there."""
    names = dict.fromkeys(name for own in pieces for name in own.parts)
    seen = {
        name: torch.cat([_or_absent(own.parts.get(name), own.total) for own in pieces])
        for name in names
    }
    return LossTerms(torch.cat([own.total for own in pieces]), seen)


def _or_absent(part: Tensor | None, total: Tensor) -> Tensor:
    """Return a part of the loss, or one that no sample has."""
    return torch.full_like(total, torch.nan) if part is None else part


def micro_batches(batch: Batch, pieces: int) -> Iterator[Batch]:
    """Yield a batch in equal pieces, each with the draws of its own samples."""
    size = len(batch.x0) // pieces
    for start in range(0, size * pieces, size):
        part = slice(start, start + size)

        def uniform(stream: str, width: int, part: slice = part) -> Tensor:
            return batch.uniform(stream, width)[part]

        x0, noise, labels = batch.x0[part], batch.noise[part], batch.labels[part]
        yield batch if pieces == 1 else Batch(x0, noise, labels, batch.empty_class, uniform)
