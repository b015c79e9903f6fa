"""An optimizer whose network holds other weights in training than those that it has found."""

from importlib.util import find_spec

import pytest
import torch

from framework.configuration import Configuration
from framework.training import State, folder, run
from framework.training.checkpoints import Checkpoints
from framework.training.scoring import Scorer
from tests.framework.training.small import DIGITS, SIZE, losses_of, trainer_of

FREE = (
    "train.optimizer = @optimizers.schedule_free_adamw",
    "optimizers.schedule_free_adamw.lr = 1e-2",
    "losses.tvm.target_decay = 0.0",
    "evaluation.metrics = (@metrics.sliced_wasserstein,)",
    "evaluation.nfe = (1,)",
    "evaluation.samples = 20",
    "logging.pictures = 0",
)
pytestmark = pytest.mark.skipif(find_spec("schedulefree") is None, reason="needs schedulefree")


def weights(network):
    return dict(network.named_parameters())


def test_evaluation_and_averages_see_the_weights_found():
    trainer, batches = trainer_of(*FREE)
    losses_of(trainer, batches, 3)
    found = dict(zip(weights(trainer.model), trainer.optimizer.found_weights(), strict=True))
    for name in ("trained", "target"):  # a target with decay 0 is what was found
        torch.testing.assert_close(weights(trainer.network(name)), found, rtol=0, atol=0)
    name = "blocks.0.mlp.expand.weight"
    assert not torch.equal(weights(trainer.model)[name], found[name])


def test_looking_at_them_leaves_training_alone():
    plain = losses_of(*trainer_of(*FREE), 4)
    trainer, batches = trainer_of(*FREE)
    looked = losses_of(trainer, batches, 2)
    evaluation = Configuration.load([DIGITS], [*SIZE, *FREE]).resolve()
    evaluation.activate()
    list(Scorer(evaluation.build("evaluation"), trainer, "trained").measure())
    looked += losses_of(trainer, batches, 2)[-2:]
    assert looked == plain


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    small = [*SIZE, *FREE, "train.batch_size = 8"]
    states = {}
    for name, parts in (("once", (4,)), ("resumed", (2, 4))):
        for steps in parts:
            sets = [*small, f"train.steps = {steps}", "evaluation.every = 1"]
            folder.prepare(tmp_path / name, Configuration.load([DIGITS], sets).resolve())
            assert run(tmp_path / name) is State.DONE
        states[name] = Checkpoints(tmp_path / name / "checkpoints").load()
    for part in ("model", "averages", "optimizer"):
        torch.testing.assert_close(states["resumed"][part], states["once"][part], rtol=0, atol=0)
