"""What a run logs about itself when asked to, by `logging.diagnostics`: figures 4, 5 and 7.

Everything is measured on one batch of the run, the same at every step and for every arm of a
seed, with the trained weights; nothing is computed at other steps or when nothing is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from framework import flow
from framework.evaluator import Evaluator
from framework.lipschitz import stretch
from framework.passes import Passes
from framework.protocols import Batch, Evaluation, LossTerms, Query, Tangent
from framework.streams import Streams
from framework.training.batches import Batches
from framework.training.precision import autocast
from framework.training.settings import Diagnostic
from framework.training.trainer import Trainer

Values = dict[str, float]

_SAMPLES = 256
_BINS = 4  # of times, from 0 to 1
_POINTS, _ITERATIONS = 16, 12  # of the power iteration
_PARTS = ("modulation", "modulation.linear")  # modules whose outputs are watched, by name


@dataclass
class _Seen:
    """One evaluation of the loss: its terms, and what it asked for and got."""

    terms: LossTerms
    queries: list[Query]
    evaluations: list[Evaluation]

    def find(self, wanted: Callable[[Query], bool]) -> tuple[Query, Evaluation] | None:
        """Return the first query of the trained weights of that sort, and its answer."""
        pairs = zip(self.queries, self.evaluations, strict=True)
        return next(((q, e) for q, e in pairs if q.gradient and wanted(q)), None)

    @property
    def jump(self) -> tuple[Query, Evaluation] | None:
        """The evaluation at t and s of jumps."""
        return self.find(lambda q: bool((q.s < q.t).any()))

    @property
    def velocity(self) -> tuple[Query, Evaluation] | None:
        """The evaluation of the velocity, at s = t."""
        return self.find(lambda q: bool((q.s == q.t).all()))


class Diagnostics:
    """Measures what it was asked to.

    modulation: root mean square of the modulation vectors of each layer, and of what their norm
        is given (`modulation/LAYER`, `modulation/LAYER.linear`), averaged over samples: figure 4.
    norms: root mean squares of the velocity u and of dF/ds (`norm/velocity`, `norm/jvp`).
    bins: each part of the loss by quarters of t and of s (`bins/PART/t=0.25-0.5`).
    lipschitz: the stretch of u(., t) at 16 points by power iteration, `lipschitz/mean` and
        `lipschitz/largest`: a lower estimate of its Lipschitz constant in x.
    """

    def __init__(self, names: Sequence[Diagnostic], trainer: Trainer) -> None:
        self._measures = [_MEASURES[name] for name in names]
        self._trainer = trainer
        self._batch: Batch | None = None

    def __call__(self) -> Values:
        """Return what is to be logged now, by tag."""
        if not self._measures:
            return {}
        trainer = self._trainer
        networks = trainer.model, *trainer.averages.networks.values()
        with torch.no_grad(), trainer.placement.whole(*networks):
            probe = _Probe(trainer, self._fixed_batch())
            return {tag: value for measure in self._measures for tag, value in measure(probe)}

    def _fixed_batch(self) -> Batch:
        if self._batch is None:
            train, device = self._trainer.settings, self._trainer.device
            size = min(train.batch_size, _SAMPLES)
            drawn = Batches(train.dataset, Streams(train.seed), size, device).at(1)
            self._batch = replace(drawn, uniform=_kept(drawn.uniform))
        return self._batch


class _Probe:
    """The network at one moment, with the loss evaluated once."""

    def __init__(self, trainer: Trainer, batch: Batch) -> None:
        self.model = trainer.model
        self.flow_map = trainer.settings.loss.flow_map
        autocasting = partial(autocast, trainer.settings.precision, trainer.device)
        networks = trainer.averages.networks
        self.evaluate = Evaluator(self.model, networks, Passes(), autocasting)
        self.seen = self._observe(trainer, batch)

    def _observe(self, trainer: Trainer, batch: Batch) -> _Seen:
        asked: list[Query] = []
        got: list[Evaluation] = []

        def evaluate(*queries: Query) -> tuple[Evaluation, ...]:
            found = self.evaluate(*queries)
            asked.extend(queries)
            got.extend(found)
            return found

        terms = trainer.settings.loss(batch, evaluate)
        return _Seen(terms, asked, got)

    def velocity(self, query: Query) -> Tensor:
        """Return u (B, ...) at the point and the time t of a query."""
        (now,) = self.evaluate(replace(query, s=query.t, tangent=None))
        return flow.velocity(self.flow_map, now.F, query.t, query.w)


def _modulation(probe: _Probe) -> Iterator[tuple[str, float]]:
    found = probe.seen.jump or probe.seen.velocity
    if found is None:
        return
    with _watched(probe.model) as norms:
        probe.evaluate(replace(found[0], tangent=None))
    yield from ((f"modulation/{name}", float(norm)) for name, norm in norms.items())


def _norms(probe: _Probe) -> Iterator[tuple[str, float]]:
    found = probe.seen.velocity or probe.seen.jump
    if found is not None:
        yield "norm/velocity", float(_size(probe.velocity(found[0])))
    jump = probe.seen.find(lambda q: q.tangent is not None)
    if jump is not None:
        yield "norm/jvp", float(_size(jump[1].derivative))


def _bins(probe: _Probe) -> Iterator[tuple[str, float]]:
    jump, velocity = probe.seen.jump, probe.seen.velocity
    for name, part in probe.seen.terms.parts.items():
        found = (velocity if name == "flow_matching" else jump) or jump or velocity
        if found is None:
            continue
        for time in ("t", "s") if found is jump else ("t",):
            times = getattr(found[0], time)
            index = (times * _BINS).long().clamp(max=_BINS - 1)
            for k in range(_BINS):
                mean = float(part[index == k].nanmean())
                if mean == mean:  # some samples have this part at such times
                    yield f"bins/{name}/{time}={k / _BINS:g}-{(k + 1) / _BINS:g}", mean


def _lipschitz(probe: _Probe) -> Iterator[tuple[str, float]]:
    found = probe.seen.velocity or probe.seen.jump
    if found is None:
        return
    query, gamma = _first(found[0], _POINTS), probe.flow_map

    def velocity(x: Tensor) -> Tensor:
        return probe.velocity(replace(query, x=x, gradient=True))

    def along(x: Tensor, v: Tensor) -> Tensor:
        (now,) = probe.evaluate(replace(query, x=x, s=query.t, tangent=Tangent(x=v)))
        return flow.velocity(gamma, now.derivative, query.t, query.w)

    found_values = stretch(velocity, along, query.x, _ITERATIONS)
    yield "lipschitz/mean", float(found_values.mean())
    yield "lipschitz/largest", float(found_values.max())


_MEASURES: dict[Diagnostic, Callable[[_Probe], Iterator[tuple[str, float]]]] = {
    "modulation": _modulation,
    "norms": _norms,
    "bins": _bins,
    "lipschitz": _lipschitz,
}


def _size(x: Tensor) -> Tensor:
    """Return the root mean square over elements, averaged over samples."""
    return x.flatten(1).square().mean(dim=1).sqrt().mean()


def _first(query: Query, count: int) -> Query:
    parts = {name: getattr(query, name)[:count] for name in ("x", "t", "s", "c", "w")}
    return replace(query, **parts, tangent=None)


def _kept(uniform: Callable[[str, int], Tensor]) -> Callable[[str, int], Tensor]:
    drawn: dict[tuple[str, int], Tensor] = {}

    def cached(stream: str, width: int) -> Tensor:
        if (stream, width) not in drawn:
            drawn[stream, width] = uniform(stream, width)
        return drawn[stream, width]

    return cached


@contextmanager
def _watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect the sizes of what modulation modules give, by layer."""
    sizes: dict[str, Tensor] = {}
    hooks = []
    for name, part in model.named_modules():
        ending = next((end for end in _PARTS if f".{name}".endswith(f".{end}")), None)
        if ending is not None:
            tag = name.replace(".modulation", "")

            def note(_: nn.Module, __: object, output: Tensor, tag: str = tag) -> None:
                sizes[tag] = _size(output.float().flatten(1))

            hooks.append(part.register_forward_hook(note))
    try:
        yield sizes
    finally:
        for hook in hooks:
            hook.remove()
