"""What is recorded of a step, where a value first was not finite, and what a step costs."""

import math
from pathlib import Path

import pytest
import torch

from framework.configuration import Configuration
from framework.protocols import Evaluation, LossTerms, Query, Tangent
from framework.streams import Streams
from framework.training.batches import Batches
from framework.training.checkpoints import Checkpoints
from framework.training.experiment import Experiment
from framework.training.flops import flops_per_step
from framework.training.observation import observed_terms, reduced
from framework.training.replay import Replay, first_not_finite
from framework.training.signals import StopRequest
from framework.training.trainer import Trainer

DIGITS = Path(__file__).parents[3] / "gin/digits.gin"
SMALL = ["models.dit.hidden_size = 12", "models.dit.depth = 2", "train.batch_size = 4"]
CPU = torch.device("cpu")


def train_settings(*bindings):
    return Experiment.build(Configuration.load([DIGITS], [*SMALL, *bindings]).resolve()).train


@pytest.fixture
def trainer():
    return Trainer(train_settings(), CPU)


@pytest.fixture
def batches(trainer):
    return Batches(trainer.settings.dataset, Streams(0), 4, CPU)


def terms(total, **parts):
    return LossTerms(torch.tensor(total), {n: torch.tensor(p) for n, p in parts.items()})


PARTS = {"loss/a": [1.0, math.nan], "loss/b": [math.nan, 2.0]}


def test_a_part_that_a_sample_has_not_leaves_its_mean_alone():
    assert reduced(terms([1.0, 2.0], **PARTS)) == {"loss/a": 1.0, "loss/b": 2.0}


def test_a_part_that_no_sample_has_is_nan():
    found = reduced(terms([1.0, 2.0], **{"loss/a": [math.nan] * 2, "loss/b": [1.0, 3.0]}))
    assert math.isnan(found["loss/a"])
    assert found["loss/b"] == 2.0


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_part_that_broke_is_not_left_out_of_its_mean(broken):
    found = reduced(terms([1.0, broken], **{"loss/a": [1.0, math.nan], "loss/b": [math.inf, 2.0]}))
    assert math.isnan(found["loss/a"])
    assert found["loss/b"] == math.inf


def test_a_tangent_that_is_not_finite_shows_though_the_loss_is_finite():
    assert math.isnan(reduced(terms([1.0, 2.0], jvp_norm=[1.0, math.nan]))["jvp_norm"])


def test_times_are_told_as_mean_least_and_most():
    found = reduced(terms([0.0] * 3, **{"times/t": [0.2, 0.4, 0.9]}))
    assert [found[f"times/t_{k}"].item() for k in ("mean", "min", "max")] == pytest.approx(
        [0.5, 0.2, 0.9]
    )


class TwoQueries:
    """A loss that asks at times 0.5 and then, with a tangent, at 0.7."""

    def __call__(self, batch, evaluate):
        x, plain, moved = torch.ones(2, 3), torch.full((2,), 0.5), torch.full((2,), 0.7)
        zero = torch.zeros(2)
        evaluate(Query(x, plain, plain, zero, zero))
        evaluate(Query(x, moved, zero, zero, zero, tangent=Tangent(s=zero)))
        return LossTerms(torch.ones(2), {"own": torch.ones(2)})


def test_the_query_with_a_tangent_is_the_one_recorded():
    def evaluate(query):
        return (Evaluation(query.x, None if query.tangent is None else 2 * query.x),)

    parts = observed_terms(TwoQueries(), None, evaluate).parts
    assert set(parts) == {"loss/own", "jvp_norm", "times/t", "times/s"}
    torch.testing.assert_close(parts["jvp_norm"], torch.full((2,), 12**0.5))
    torch.testing.assert_close(parts["times/t"], torch.full((2,), 0.7))


def test_every_step_records_norm_of_tangent_and_times(trainer, batches):
    trainer.train_step(batches.at(1))
    ((step, values),) = trainer.recorder.history(1)
    assert step == 1
    assert set(values) >= {"jvp_norm", "gradient_norm", "times/t_mean", "times/s_max"}


def spoil(trainer, name):
    with torch.no_grad():
        dict(trainer.model.named_parameters())[name].view(-1)[0] = math.nan


def test_the_first_module_whose_weights_are_not_finite_is_named(trainer, batches):
    spoil(trainer, "blocks.1.attention.qkv.weight")
    found = first_not_finite(trainer, batches, 1)
    assert found == "blocks.1.attention.qkv of the trained weights: its weights are not finite"


class BreaksTangent(torch.autograd.Function):
    """The identity, whose tangent is infinite."""

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def jvp(ctx, d_x):
        return d_x / 0.0

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class BadTangent(torch.nn.Module):
    def forward(self, x):
        return BreaksTangent.apply(x)


def test_a_tangent_that_breaks_is_told_from_the_output(trainer, batches):
    attention = trainer.model.blocks[0].attention
    attention.qkv = torch.nn.Sequential(attention.qkv, BadTangent())
    found = first_not_finite(trainer, batches, 1)
    assert found == "blocks.0.attention.qkv.1 of the trained weights: its tangent is not finite"


def test_a_replay_from_a_checkpoint_meets_the_same_step(trainer, batches, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in range(1, 5):
        trainer.train_step(batches.at(step))
        checkpoints.save(step, trainer.state_dict())
    spoil(trainer, "blocks.0.attention.qkv.weight")  # as after a divergence: not to be looked at
    replay = Replay(trainer, batches, checkpoints, StopRequest(), 10.0)
    assert replay.origin(4) == "unknown (a replay from step 3 stayed finite)"
    assert trainer.step == 3
    slow = Replay(trainer, batches, checkpoints, StopRequest(), 1e-3)
    assert "more than five minutes" in slow.origin(4)


@pytest.mark.parametrize("device", ["cpu", "cuda"])  # of which only the name matters here
def test_the_operations_of_a_step(device):
    device = torch.device(device)
    once = flops_per_step(train_settings(), device)
    assert once > 0
    assert flops_per_step(train_settings("train.batch_size = 8"), device) == 2 * once
    assert flops_per_step(train_settings("models.dit.depth = 4"), device) > 1.5 * once
    plain = ["train.loss = @losses.flow_matching()"]
    plain += ["losses.flow_matching.guidance = @guidances.constant()"]
    plain += ["losses.flow_matching.flow_map = @flow_maps.plain()"]
    plain += ["losses.flow_matching.time_sampler = @time_samplers.gap_star()"]
    assert flops_per_step(train_settings(*plain), device) < once
