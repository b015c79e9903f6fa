"""What two processes find out together; the tests look at what they wrote down.

Run as a program with a folder to write into: starting processes costs seconds, so that everything
is done in one session. With `cuda` behind it, it is what two GPUs find out.
"""

import os
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import framework.distribution.sharded  # noqa: F401  takes long, and once is enough: forked after it
from framework.configuration import Configuration
from framework.distribution import ALONE, joined
from framework.launching import ranks
from framework.passes import Passes, embed_pair
from framework.protocols import Score
from framework.streams import Streams
from framework.training import compilation, folder, run
from framework.training.batches import Batches
from framework.training.checkpoints import Checkpoints
from framework.training.compilation import compiled_passes
from framework.training.experiment import Experiment
from framework.training.scoring import Scorer
from framework.training.signals import AgreedStop, StopRequest
from framework.training.trainer import Trainer
from tests.framework.distribution import apart, uneven
from tests.framework.distribution.uneven import refusal
from tests.framework.training.small import DIGITS, SIZE

BASE = "base.gin"
STEPS = 3
COMPILED = "train.compile = True"
BACKENDS = {"cpu": "aot_eager_decomp_partition", "cuda": "inductor"}
MEAN_FLOW = (
    "train.loss = @losses.mean_flow()",
    "losses.mean_flow.guidance = @guidances.constant()",
    "losses.mean_flow.time_sampler = @time_samplers.gap()",
)
CASES = {
    "plain": (),
    "all at once": ("train.clip_norm = 0.5", "train.accumulation = 4", "train.checkpointing = 1"),
    "mean flow": MEAN_FLOW,
    "compiled": (COMPILED, "train.accumulation = 4"),
    "fp16 that overflows": ("train.precision = 'fp16'", "train.clip_norm = 1.0"),
}
GPU_CASES = {
    **{name: CASES[name] for name in ("plain", "all at once", "compiled")},
    "bf16": ("train.precision = 'bf16'",),
}
OPTIMIZERS = ("adamw", "lion", "sgd", "muon", "soap")
RUN = ("train.steps = 6", "train.device = 'cpu'", "evaluation.metrics = ()", "evaluation.every = 4",
       "evaluation.samples = 4", "logging.pictures = 2", "logging.every = 1",
       "logging.checkpoint_every = 2", "train.distribution = 'fsdp'")  # fmt: skip


def resolved(path, *settings):
    """Return a small run on digits; what a file only includes may go unused."""
    return Configuration.load([path / BASE], [*SIZE, "train.batch_size = 8", *settings]).resolve()


class Session:
    """A process of the session, and what it has found."""

    def __init__(self, path, world, device):
        self.path, self.world, self.found = path, world, {}
        self.device = world.device(torch.device(device))

    def trainer(self, *settings, world=None):
        world = world or self.world
        train = Experiment.build(resolved(self.path, *settings)).train
        batches = Batches(train.dataset, Streams(0), train.batch_size, self.device, world)
        return Trainer(train, self.device, world), batches

    def trained(self, *settings, world=None, steps=STEPS):
        trainer, batches = self.trainer(*settings, world=world)
        if "train.precision = 'fp16'" in settings:
            scaler = trainer._scaler.state_dict()
            trainer._scaler.load_state_dict({**scaler, "scale": 2.0**40})
        if COMPILED in settings:
            trainer.use(compiled(BACKENDS[self.device.type]))
        return advanced(trainer, batches, steps)

    def equal_losses(self, cases):
        for name, settings in cases.items():
            for kind in ("ddp", "fsdp"):
                several = self.trained(f"train.distribution = '{kind}'", *settings)
                self.found[f"{name}/{kind}"] = outcome(several)
                self.found[f"{name}/{kind} alike"] = uneven.checked(several, self.world)
            self.found[f"{name}/remembered"] = remembered(several)
            if self.world.leads:
                self.found[f"{name}/one"] = outcome(self.trained(*settings, world=ALONE))

    def summed_in_the_end(self):
        """Sum gradients as those of a replay are: none leaves before a backward pass has ended."""
        trainer, batches = self.trainer()
        gradients, parameters = trainer._gradients, list(trainer.model.parameters())
        found = []
        for way in (gradients, lambda batch: gradients.of_all(gradients.piece(batch))):
            way(batches.at(1))
            found.append([p.grad.clone() for p in parameters])
            trainer.optimizer.zero_grad(set_to_none=True)
        self.found["in the end"] = all(map(torch.equal, *found))

    def replayed(self):
        """Train past the recording of a graph, in two micro-batches each, and one GPU plainly."""
        settings = ("train.accumulation = 4",)
        several = self.trained("train.cuda_graphs = True", *settings, steps=2 * STEPS)
        self.found["replayed/ddp"] = outcome(several)
        self.found["replayed/ddp alike"] = uneven.checked(several, self.world)
        if self.world.leads:
            one = self.trained(*settings, world=ALONE, steps=2 * STEPS)
            self.found["replayed/one"] = outcome(one)

    def waiting(self):
        """Note what PyTorch says of steps that wait for their GPU."""
        kinds = {kind: (f"train.distribution = '{kind}'",) for kind in ("ddp", "fsdp")}
        kinds["replayed"] = ("train.cuda_graphs = True",)
        for kind, settings in kinds.items():
            trainer, batches = self.trainer(*settings)
            advanced(trainer, batches, 2 * STEPS)
            torch.cuda.set_sync_debug_mode("error")
            try:
                advanced(trainer, batches, 3 * STEPS)
                self.found[f"waited/{kind}"] = ""
            except RuntimeError as error:
                self.found[f"waited/{kind}"] = str(error)
            torch.cuda.set_sync_debug_mode("default")

    def checkpoints(self):
        """Save in shards after two steps, and go on from there in several ways."""
        sharded = ("train.distribution = 'fsdp'",)
        trainer, batches = self.trainer(*sharded)
        saved = Checkpoints(self.path / "sharded", self.world)
        saved.save(1, advanced(trainer, batches, 1).state_dict())
        saved.save(2, advanced(trainer, batches, 2).state_dict())
        self.found["undisturbed"] = outcome(advanced(trainer, batches, STEPS))
        self.found["again"] = self._resumed(saved, *sharded)
        self.found["as ddp"] = self._resumed(saved)
        if self.world.leads:
            one = Checkpoints(self.path / "sharded")
            self.found["by one"] = self._resumed(one, *sharded, world=ALONE)
            single = self.trained(world=ALONE, steps=2)
            Checkpoints(self.path / "single").save(2, single.state_dict())
        self.world.wait()
        single = Checkpoints(self.path / "single", self.world)
        self.found["from one"] = self._resumed(single, *sharded)
        if self.world.leads:
            damage(self.path / "sharded" / "step-00000002" / "__1_0.distcp")
        self.world.wait()
        self.found["after damage"] = saved.load()["step"]

    def _resumed(self, checkpoints, *settings, world=None):
        trainer, batches = self.trainer(*settings, world=world)
        trainer.load_state_dict(checkpoints.load(empty=trainer.placement.empty))
        assert trainer.step == 2
        return outcome(advanced(trainer, batches, STEPS))

    def samples(self):
        trainer, _ = self.trainer("train.distribution = 'fsdp'")
        evaluation = Experiment.build(resolved(self.path)).evaluation
        settings = replace(evaluation, metrics=(Seen, Shared), samples=7, batch_size=2, nfe=(2,))
        self.found["scores"] = [m.score.value for m in Scorer(settings, trainer).measure()]
        if self.world.leads:
            alone, _ = self.trainer(world=ALONE)
            self.found["scores of one"] = [m.score.value for m in Scorer(settings, alone).measure()]

    def refusals(self):
        for name in OPTIMIZERS:
            settings = (f"train.optimizer = @optimizers.{name}", "train.distribution = 'fsdp'")
            self.found[f"optimizer {name}"] = refusal(lambda s=settings: self.trainer(*s))
        self.found["batch"] = refusal(lambda: self.trainer("train.batch_size = 9"))

    def compiling(self):
        """Only the second process fails to compile its backward passes."""
        trainer, batches = self.trainer()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compilation, "compiled_passes", partial(one_sided, self.world))
            nothing = SimpleNamespace(lean_graphs=lambda *_: nullcontext())  # the compiler: seconds
            patch.setitem(sys.modules, "framework.training.lean_graphs", nothing)
            compiled = compilation.compile_steps(trainer, batches.at(1))
        self.found["compiled"] = self.world.everyones(compiled)
        self.found["not compiled"] = outcome(advanced(trainer, batches, STEPS))

    def stopping(self):
        """The second process is asked to stop at its third step."""
        request, steps = StopRequest(), 0
        stop = AgreedStop(request, self.world)
        while not stop.agreed():
            steps += 1
            if steps == 3 and not self.world.leads:
                request.receive(signal.SIGUSR1, None)
        self.found["stopped after"] = self.world.everyones((steps, stop.signal))


@cache
def compiled(backend):
    """Return passes for all networks of this process: they are alike, and so is what they see."""
    return compiled_passes(backend)


class Broken(torch.autograd.Function):
    """Stands for what cannot be compiled, which shows in the backward pass."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no kernel")


def one_sided(world):
    """Return passes as they are; in the second process their backward pass fails midway."""
    if world.leads:
        return Passes()

    def broken(*args):
        dual, conditions, (tokens, condition) = embed_pair(*args)
        return dual, conditions, (tokens, Broken.apply(condition))

    return Passes(embed_pair=broken)


def advanced(trainer, batches, step):
    while trainer.step < step:
        trainer.train_step(batches.at(trainer.step + 1))
    return trainer


def outcome(trainer):
    """Return a trainer's recorded scalars, and all its weights, whole."""
    networks = {"trained": trainer.model, **trainer.averages.networks}
    weights = {
        f"{kind}/{name}": getattr(weight, "full_tensor", lambda w=weight: w)().to("cpu", copy=True)
        for kind, network in networks.items()
        for name, weight in network.state_dict().items()
    }
    return {"history": trainer.recorder.history(trainer.step), "weights": weights}


def remembered(trainer):
    """Return how many passes through shards PyTorch still knows of."""
    networks = trainer.placement._networks.values()
    states = [unit._get_fsdp_state() for network in networks for unit in network.all_units()]
    orders = [getattr(state._comm_ctx, "post_forward_order", []) for state in states]
    return sum(len(order) for order in orders) + sum(
        len(state._fsdp_param_group._post_forward_indices) for state in states
    )


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Seen:
    """A metric of which only the first process has one; its score depends on every sample."""

    def __init__(self, dataset):
        pass

    def __call__(self, samples, labels):
        return [Score("seen", weighted(samples.flatten(1)), "lower")]


class Shared(Seen):
    def features(self, samples):
        return samples.flatten(1) * 2

    def of_features(self, features):
        return [Score("shared", weighted(features), "lower")]

    def __call__(self, samples, labels):
        return self.of_features(self.features(samples))


def weighted(rows):
    return float(
        (rows.double().sum(dim=1) * torch.arange(1, len(rows) + 1, device=rows.device)).sum()
    )


def explore(path, device):
    """Find out everything that needs no process to end."""
    with joined() as world:
        session = Session(path, world, device)
        session.equal_losses(CASES if device == "cpu" else GPU_CASES)
        session.checkpoints()
        session.samples()
        if device == "cpu":
            session.refusals()
            session.summed_in_the_end()
            session.stopping()
            session.compiling()
            session.found |= uneven.explore(world)
        else:
            session.replayed()
            session.waiting()
        if world.leads:
            torch.save(session.found, path / "found.pt")


def disturbed_run(directory, disturb):
    """Run a folder while something happens to the second process as it makes its third batch."""
    if os.environ["RANK"] == "1":
        make = Batches.at

        def at(self, step):
            if step == 3:
                disturb()
            return make(self, step)

        Batches.at = at
    run(directory)


def stop():
    os.kill(os.getpid(), signal.SIGUSR2)


def fail():
    raise ValueError("the disk is gone")


def main(path, device="cpu"):
    torch.set_num_threads(1)
    (path / BASE).write_text(f"include '{DIGITS}'\n")
    codes = {"explored": ranks.together(2, lambda: explore(path, device))}
    if device == "cpu":
        codes |= whole_runs(path)
    torch.save(codes, path / "codes.pt")


def whole_runs(path):
    """Train runs that are stopped, fail, diverge and end; return their exit codes."""
    together = {
        "stopped": lambda directory: disturbed_run(directory, stop),
        "failed": lambda directory: disturbed_run(directory, fail),
        "undisturbed": run,
    }
    codes = {}
    for name, begin in together.items():
        directory = path / name
        folder.prepare(directory, resolved(path, *RUN))
        codes[name] = ranks.together(2, lambda d=directory, b=begin: b(d))
    codes["resumed"] = ranks.together(2, lambda: run(path / "stopped"))
    diverging = resolved(
        path, *RUN, "train.optimizer = @optimizers.sgd", "optimizers.sgd.lr = 1e30"
    )
    folder.prepare(path / "diverged", diverging)
    codes["diverged"] = ranks.together(2, lambda: run(path / "diverged"))
    replicated = resolved(path, *RUN, "train.distribution = 'ddp'")
    return codes | apart.codes(path, replicated, path / "undisturbed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
