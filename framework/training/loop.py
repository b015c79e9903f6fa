"""From a trainer to a finished run: steps, log, scores, checkpoints, and how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from framework.runs.heartbeat import Pulse, State
from framework.training import replicas
from framework.training.batches import Batches
from framework.training.checkpoints import Checkpoints
from framework.training.following import Writer
from framework.training.observation import TIMES
from framework.training.recorder import LENGTH
from framework.training.replay import Replay
from framework.training.scoring import Scorer
from framework.training.settings import Logging
from framework.training.signals import AgreedStop
from framework.training.trainer import Trainer

log = logging.getLogger(__name__)

ORIGIN = "first_not_finite"
SAMPLES = "samples"


@dataclass
class Loop:
    """Trains to the last step, or until the run diverges or is asked to stop."""

    trainer: Trainer
    batches: Batches
    scorer: Scorer
    score_every: int | None
    logging: Logging
    writer: Writer
    checkpoints: Checkpoints
    pulse: Pulse
    stop: AgreedStop
    diagnostics: Callable[[], dict[str, float]] = dict
    _mark: float = field(default_factory=time.monotonic)  # when stepping last went on

    def run(self) -> State:
        """Return how the run ended: done, diverged or stopped."""
        trainer, last = self.trainer, self.trainer.settings.steps
        first = trainer.step + 1
        while trainer.step < last:
            if self.stop.agreed():
                return self._stopped()
            trainer.train_step(self.batches.at(trainer.step + 1))
            if trainer.step == first:  # most of what lets replicas drift does so at once
                self._check_replicas()
            logs = self._due(self.logging.every) or trainer.step == last
            scores = bool(self.score_every and self._due(self.score_every) and trainer.step < last)
            saves = self._due(self.logging.checkpoint_every) and trainer.step < last
            broken = self._broken() if logs or scores or saves or self._due(LENGTH) else None
            if logs or broken:
                self._log()
            if broken:
                return self._diverged(*broken)
            if scores:
                self._score()
            if saves:
                self._save()
        self._save()  # first: judging may take long or fail, and is made up for
        self._score(SAMPLES)
        self.pulse.now.state = State.DONE
        return State.DONE

    def _due(self, every: int) -> bool:
        return self.trainer.step % every == 0

    def _broken(self) -> tuple[int, list[str]] | None:
        """Return the step at which the run first was not finite and what was not, if any.

        The ring holds everything since the last time this was asked.
        """
        watched = ["loss/total"]
        if self.trainer.settings.precision != "fp16":  # whose scaler skips steps that overflow
            watched.append("gradient_norm")
        return self.trainer.recorder.broken(self.trainer.step, watched)

    def _log(self) -> None:
        """Record the means since the last record."""
        step, now = self.trainer.step, self.pulse.now
        means = self.trainer.recorder.means(step, (step - 1) % self.logging.every + 1)
        shown = {name: mean for name, mean in means.items() if not name.startswith(TIMES)}
        seconds = time.monotonic() - self._mark
        self._mark += seconds
        now.seconds += seconds
        now.steps_per_second = (step - now.step) / max(seconds, 1e-9)
        now.step = step
        if self.trainer.device.type == "cuda":
            now.memory = max(now.memory, torch.cuda.max_memory_allocated(self.trainer.device))
        measured = self.diagnostics()
        rate = {"rate/steps_per_second": now.steps_per_second}
        self.writer.scalars(step, shown | rate | measured)
        if measured:
            self._mark = time.monotonic()
        self.pulse.beat()

    def _score(self, pictures: str = "") -> None:
        """Record scores and pictures; the latter also as PNG, into that folder of the run's."""
        scores = self.scorer.write(self.writer)
        folder = self.checkpoints.directory.parent / pictures if pictures else None
        self.scorer.write_pictures(self.writer, self.logging.pictures, folder)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
        log.info("step %d: %s", self.trainer.step, shown or "no metric asked for")
        self.pulse.now.metrics = scores
        self.pulse.beat(force=True)
        self._mark = time.monotonic()

    def _save(self) -> None:
        """Save a checkpoint, of replicas that are alike; what was recorded up to it comes first."""
        self._check_replicas()
        self.writer.flush()
        self.checkpoints.save(self.trainer.step, self.trainer.state_dict())
        self._mark = time.monotonic()

    def _check_replicas(self) -> None:
        replicas.check(self.trainer, self.trainer.world, self.checkpoints.directory.parent)

    def _stopped(self) -> State:
        self._save()
        now = self.pulse.now
        now.state, now.cause = State.STOPPED, f"asked to stop by {self.stop.signal}"
        log.info("step %d: %s", self.trainer.step, now.cause)
        return State.STOPPED

    def _diverged(self, step: int, names: list[str]) -> State:
        """Keep the steps that led to the first one that was not finite, and where that began."""
        now = self.pulse.now
        now.state, now.diverged_step = State.DIVERGED, step
        now.cause = f"{' and '.join(names)} not finite at step {step}"
        log.warning("diverged: %s", now.cause)
        history = self.trainer.recorder.history(step)
        for k, values in history:
            self.writer.flight_record({"step": float(k), **values})
        self.writer.flush()  # the replay below may be killed
        self.pulse.beat(force=True)
        replay = Replay(
            self.trainer, self.batches, self.checkpoints, self.stop, now.steps_per_second
        )
        origin = replay.origin(step)
        self.writer.flight_record({"step": float(step), **history[-1][1], ORIGIN: origin})
        now.origin = origin
        log.warning("first not finite: %s", origin)
        return State.DIVERGED
