"""From a trainer to a finished run: steps, log, scores, checkpoints, and how it ended."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from framework.results import RunWriter
from framework.training.batches import Batches
from framework.training.checkpoints import Checkpoints
from framework.training.heartbeat import Pulse, State
from framework.training.scoring import Scorer
from framework.training.settings import Logging
from framework.training.signals import StopRequest
from framework.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass
class Loop:
    """Trains to the last step, or until the run diverges or is asked to stop."""

    trainer: Trainer
    batches: Batches
    scorer: Scorer
    score_every: int | None
    logging: Logging
    writer: RunWriter
    checkpoints: Checkpoints
    pulse: Pulse
    stop: StopRequest
    diagnostics: Callable[[], dict[str, float]] = dict
    _mark: float = field(default_factory=time.monotonic)  # when stepping last went on

    def run(self) -> State:
        """Return how the run ended: done, diverged or stopped."""
        trainer, last = self.trainer, self.trainer.settings.steps
        while trainer.step < last:
            if self.stop:
                return self._stopped()
            trainer.train_step(self.batches.at(trainer.step + 1))
            if (self._due(self.logging.every) or trainer.step == last) and not self._log():
                return self._diverged()
            if self.score_every and self._due(self.score_every) and trainer.step < last:
                self._score()
            if self._due(self.logging.checkpoint_every) and trainer.step < last:
                self._save()
        self._score()
        self._save()
        self.pulse.now.state = State.DONE
        return State.DONE

    def _due(self, every: int) -> bool:
        return self.trainer.step % every == 0

    def _log(self) -> bool:
        """Record the means since the last record; return whether they are finite."""
        step, now = self.trainer.step, self.pulse.now
        means = self.trainer.recorder.means(step, self.logging.every)
        seconds = time.monotonic() - self._mark
        self._mark += seconds
        now.seconds += seconds
        now.steps_per_second = (step - now.step) / max(seconds, 1e-9)
        now.step = step
        measured = self.diagnostics()
        rate = {"rate/steps_per_second": now.steps_per_second}
        self.writer.scalars(step, means | rate | measured)
        if measured:
            self._mark = time.monotonic()
        self.pulse.beat()
        return math.isfinite(means["loss/total"]) and math.isfinite(means["gradient_norm"])

    def _score(self) -> None:
        scores = self.scorer.write(self.writer)
        self.scorer.write_pictures(self.writer, self.logging.pictures)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
        log.info("step %d: %s", self.trainer.step, shown)
        self.pulse.now.metrics = scores
        self.pulse.beat(force=True)
        self._mark = time.monotonic()

    def _save(self) -> None:
        """Save a checkpoint; what was recorded up to it is on disk first."""
        self.writer.flush()
        self.checkpoints.save(self.trainer.step, self.trainer.state_dict())
        self._mark = time.monotonic()

    def _stopped(self) -> State:
        self._save()
        now = self.pulse.now
        now.state, now.cause = State.STOPPED, f"asked to stop by {self.stop.signal}"
        log.info("step %d: %s", self.trainer.step, now.cause)
        return State.STOPPED

    def _diverged(self) -> State:
        """Keep the steps that led here; say at which one a value first was not finite."""
        history = self.trainer.recorder.history(self.trainer.step)
        for step, values in history:
            self.writer.flight_record({"step": float(step), **values})
        step, names = next((step, bad) for step, values in history if (bad := _broken(values)))
        now = self.pulse.now
        now.state, now.diverged_step = State.DIVERGED, step
        now.cause = f"{', '.join(names)} not finite at step {step}"
        log.warning("diverged: %s", now.cause)
        return State.DIVERGED


def _broken(values: dict[str, float]) -> list[str]:
    """Return the names of values that are a sign of divergence."""
    watched = ("loss/total", "gradient_norm")  # a part of the loss is NaN where none was drawn
    return [name for name in watched if not math.isfinite(values[name])]
