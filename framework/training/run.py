"""A run folder, from its frozen `config.gin` to its end."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from framework.configuration import Configuration
from framework.distribution import World, joined
from framework.errors import UserError
from framework.garbage import uncollected
from framework.results import RunConfig, RunWriter
from framework.runs import CONFIG
from framework.runs.heartbeat import Heartbeat, Pulse, State, read
from framework.streams import Streams
from framework.training import compilation, failures, provenance, replicas
from framework.training.batches import Batches
from framework.training.checkpoints import Checkpoints
from framework.training.diagnostics import Diagnostics
from framework.training.experiment import Experiment
from framework.training.flops import flops_per_step
from framework.training.following import NoPulse, NoWriter, Writer
from framework.training.loop import Loop
from framework.training.scoring import Scorer
from framework.training.signals import AgreedStop, stop_requests
from framework.training.trainer import Trainer

log = logging.getLogger(__name__)


def run(directory: Path) -> State:
    """Train the run whose `config.gin` lies in `directory`, from where it was left.

    Returns:
        done, diverged or stopped.

    Raises:
        UserError: the configuration cannot be run.
    """
    leads = World.of_environment().leads
    pulse = Pulse(directory, _first_heartbeat(directory)) if leads else NoPulse()
    with _log_file(directory / "log.txt", leads), stop_requests() as stop:
        try:
            with failures.written_down(directory), joined() as world:
                return _run(directory, pulse, AgreedStop(stop, world), world)
        except BaseException as error:
            pulse.now.state, pulse.now.cause = State.FAILED, failures.cause(directory, error)
            raise
        finally:
            pulse.beat(force=True)


def _run(directory: Path, pulse: Pulse, stop: AgreedStop, world: World) -> State:
    experiment = Experiment.build(Configuration.load([directory / CONFIG]).resolve())
    replicas.check_same_run(world, experiment.resolved, directory)
    train, device = experiment.train, world.device(experiment.device())
    torch.use_deterministic_algorithms(train.deterministic)
    meanwhile = compilation.compiler_starting() if train.compile else nullcontext()
    with experiment.resolved.refusals(), uncollected(), meanwhile:
        trainer = Trainer(train, device, world)
    checkpoints = Checkpoints(directory / "checkpoints", world)
    _go_on(trainer, checkpoints)
    replicas.check(trainer, world, directory, replicas.READ)
    batches = Batches(train.dataset, Streams(train.seed), train.batch_size, device, world)
    if train.compile:
        compilation.compile_steps(trainer, batches.at(trainer.step + 1))
    # steps that a kill lost come again: counted twice they would make the arm look slow
    pulse.now.seconds *= min(1.0, trainer.step / max(pulse.now.step, 1))
    pulse.now.step, pulse.now.steps = trainer.step, train.steps
    if world.leads:
        pulse.now.flops_per_step = pulse.now.flops_per_step or flops_per_step(train, device)
    pulse.beat(force=True)
    with _writer(experiment, trainer, directory) as writer:
        return Loop(
            trainer=trainer,
            batches=batches,
            scorer=Scorer(experiment.evaluation, trainer),
            score_every=experiment.evaluation.every,
            logging=experiment.logging,
            writer=writer,
            checkpoints=checkpoints,
            pulse=pulse,
            stop=stop,
            diagnostics=Diagnostics(experiment.logging.diagnostics, trainer),
        ).run()


def _go_on(trainer: Trainer, checkpoints: Checkpoints) -> None:
    """Take the newest checkpoint's state, of which no second copy stays; without one, begin."""
    place = "cpu" if trainer.lies_in_shards else trainer.device
    state = checkpoints.load(place, empty=trainer.placement.empty)
    if state is None:
        trainer.begin()
        return
    trainer.load_state_dict(state)
    log.info("going on from step %d", trainer.step)


def _writer(experiment: Experiment, trainer: Trainer, directory: Path) -> Writer:
    if not trainer.world.leads:
        return NoWriter()
    config = _run_config(experiment, trainer.device, directory)
    return RunWriter(directory, config=config, resume_step=trainer.step, tensorboard=True)


def _first_heartbeat(directory: Path) -> Heartbeat:
    """Return a running heartbeat that counts on from the last attempt's step and seconds."""
    last = read(directory) or Heartbeat()
    return Heartbeat(
        state=State.RUNNING,
        step=last.step,
        seconds=last.seconds,
        flops_per_step=last.flops_per_step,
        memory=last.memory,
        metrics=last.metrics,
    )


def _run_config(experiment: Experiment, device: torch.device, directory: Path) -> RunConfig:
    resolved, run = experiment.resolved, experiment.run
    commit, diff = provenance.git_state(Path(__file__).parent)
    return RunConfig(
        gin_text=resolved.text(),
        resolved=json.loads(resolved.json()),
        identity=resolved.identity,
        grid=run.grid,
        arm=run.arm,
        seed=experiment.train.seed,
        varied=run.varied,
        git_commit=commit,
        git_diff=diff,
        versions=provenance.versions(),
        host=socket.gethostname(),
        device=provenance.device_name(device),
        command=run.command or f"python launch/train.py --gin {directory / CONFIG}",
        sources=resolved.sources(),
        metric=run.metric,
        metric_nfe=run.metric_nfe,
    )


@contextmanager
def _log_file(path: Path, leads: bool) -> Iterator[None]:
    """Append the framework's log to a file as well: of followers, only what ends them."""
    handler = logging.FileHandler(path, delay=not leads)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger("framework")
    root.addHandler(handler)
    root.setLevel(logging.INFO if leads else logging.ERROR)
    try:
        yield
    except UserError as error:  # the program says it on standard error, and once is enough
        handler.handle(logging.makeLogRecord({"levelname": "ERROR", "msg": str(error)}))
        raise
    finally:
        root.removeHandler(handler)
        handler.close()
