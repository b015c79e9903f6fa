"""The scores of a run's last checkpoint, measured again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from rich import box
from rich.console import Console
from rich.table import Table

from framework.answers import check_samples
from framework.distribution import ALONE, World
from framework.errors import UserError
from framework.passes import Passes
from framework.results import (
    DamagedRunError,
    NewerSchemaError,
    RunWriter,
    StorageError,
    read_run,
)
from framework.runs import claims
from framework.training.checking import Combination
from framework.training.compilation import sampling_passes
from framework.training.restored import Restored
from framework.training.scoring import Measured, Scorer, sampling_weights
from framework.training.settings import Evaluation
from framework.training.weights import EVALUATION

PLAIN_WIDTH = 160


@dataclass(frozen=True)
class Changes:
    """What differs from the run's own evaluation; None stands for what the run does."""

    nfe: Sequence[int] | None = None
    samples: int | None = None
    blocks: int | None = None
    weight: float | None = None
    weights: str = EVALUATION

    def settings(self, own: Evaluation) -> Evaluation:
        """Return the run's settings with these changes."""
        return replace(
            own,
            nfe=own.nfe if self.nfe is None else tuple(self.nfe),
            samples=self.samples or own.samples,
            blocks=self.blocks or own.blocks,
            weight=own.weight if self.weight is None else self.weight,
        )


def measure_again(
    run: Restored, changes: Changes, *, append: bool = False, world: World = ALONE
) -> list[Measured]:
    """Return the scores, one a metric, NFE and block; with `append` they join the run's results.

    A value measured of the same draws in the same way replaces the one that was there. Of several
    processes, which share the work, the first has the scores.

    Raises:
        UserError: the run has no such weights or no metrics, its sampler or loss does not go with
            the changes, or its results cannot be written.
    """
    settings = changes.settings(run.experiment.evaluation)
    if not settings.metrics:
        raise UserError(f"{run.directory}: its evaluation.metrics is empty: there is no metric")
    _check(run, settings)
    passes = _passes(run, settings, changes.weights, world)
    scorer = Scorer(settings, run.trainer, changes.weights, world, passes)
    found = list(scorer.measure())
    if append and world.leads:
        _append(run, scorer, found)
    return found


def _check(run: Restored, settings: Evaluation) -> None:
    """Refuse what a launch would refuse, such as a guidance weight that was not trained."""
    train = run.experiment.train
    weights = sampling_weights(settings, train.loss.guidance.weight)
    combination = Combination(run.experiment.resolved, train, settings, run.trainer.model, weights)
    combination.check_sampling()
    for build in settings.metrics:
        check_samples(build(dataset=train.dataset), settings.samples)


def _passes(run: Restored, settings: Evaluation, weights: str, world: World) -> Passes:
    """Return passes for the samples that this process draws."""
    samples = -(-settings.samples // world.size)
    times = settings.blocks * sum(nfe or 1 for nfe in settings.counts)
    size = min(settings.batch_size, samples)
    train, device = run.experiment.train, run.trainer.device
    return sampling_passes(run.trainer.network(weights), train, device, size, samples * times)


def _append(run: Restored, scorer: Scorer, found: Sequence[Measured]) -> None:
    with claims.claim(run.directory) as mine:
        if not mine:
            raise UserError(f"{run.directory} is being trained: --append once it has ended")
        try:
            config = read_run(run.directory).config
            with RunWriter(run.directory, config=config, tensorboard=True) as writer:
                for measured in found:
                    scorer.record(writer, measured)
        except (DamagedRunError, NewerSchemaError, StorageError) as error:
            raise UserError(f"nothing was appended: {error}") from error


def print_scores(found: Sequence[Measured]) -> None:
    """Print mean and deviation over the blocks, a row a metric, NFE and guidance weight."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("metric", "better", "NFE", "w", "mean", "sd over blocks", "blocks"):
        table.add_column(name, justify="left" if name in ("metric", "better") else "right")
    blocks: dict[tuple[str, str, str, str], list[float]] = {}
    for score, nfe, _, w in found:
        at = "-" if nfe is None else str(nfe)
        blocks.setdefault((score.name, score.direction, at, f"{w:g}"), []).append(score.value)
    for columns, values in blocks.items():
        spread = f"{stdev(values):.4g}" if len(values) > 1 else "-"
        table.add_row(*columns, f"{fmean(values):.5g}", spread, str(len(values)))
    console.print(table)
