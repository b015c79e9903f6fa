"""Settings that change a step's cost and not its mathematics, on a small network on digits."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from framework.configuration import Configuration
from framework.errors import UserError
from framework.evaluator import Evaluator
from framework.passes import Passes
from framework.training.cost import peak_rate, step_operations
from tests.framework.training.small import DIGITS, losses_of, trainer_of

STEPS = 3


@pytest.fixture(scope="module")
def plain():
    return losses_of(*trainer_of(), STEPS)


@pytest.mark.parametrize(
    "setting",
    [
        "train.checkpointing = 1",
        "train.checkpointing = 2",
        "train.accumulation = 4",
        "train.cuda_graphs = True",  # without a GPU there are none
    ],
)
def test_losses_are_those_of_a_plain_step(setting, plain):
    assert losses_of(*trainer_of(setting), STEPS) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("setting", ["train.checkpointing = 0", "train.accumulation = 1"])
def test_settings_that_came_later_leave_identities_alone(setting):
    before = Configuration.load([DIGITS]).resolve().identity
    assert Configuration.load([DIGITS], [setting]).resolve().identity == before


@pytest.mark.parametrize("detach", [False, True])
def test_a_checkpointed_block_runs_again_in_the_backward_pass(detach):
    trainer, batches = trainer_of(f"losses.tvm.detach_jvp = {detach}")
    calls = {"forward": 0, "pair": 0}

    def counted(name, function):
        def call(*args):
            calls[name] += 1
            return function(*args)

        return call

    plain = Passes()
    passes = Passes(
        block_forward=counted("forward", plain.block_forward),
        block_pair=counted("pair", plain.block_pair),
        checkpoint_every=2,
    )
    evaluator = Evaluator(trainer.model, trainer.averages.networks, passes)
    terms = trainer.settings.loss(batches.at(1), evaluator)
    before = dict(calls)
    terms.total.sum().backward()
    again = {name: calls[name] - before[name] for name in calls}
    assert again == {"forward": 0, "pair": 1}


def test_a_batch_that_micro_batches_do_not_divide_is_refused():
    with pytest.raises(UserError, match=r"train\.accumulation = 3 does not divide"):
        trainer_of("train.accumulation = 3")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_near_float32(precision, plain):
    trainer, batches = trainer_of(f"train.precision = '{precision}'")
    assert losses_of(trainer, batches, STEPS) == pytest.approx(plain, rel=0.03)
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


def test_products_of_a_step_are_counted_without_running_it():
    trainer, _ = trainer_of()
    once = step_operations(trainer.settings)
    doubled, _ = trainer_of("train.batch_size = 16")
    assert step_operations(doubled.settings) == 2 * once


# Passes over the batch: of layers' products and, where a tangent makes three of one, of attention's
FLOORS = {
    "tvm": ((), 11, 14),
    "detached": (("losses.tvm.detach_jvp = True",), 9, 10),
    "mean_flow": (
        (
            "train.loss = @losses.mean_flow()",
            "losses.mean_flow.time_sampler = @time_samplers.gap_star()",
            "losses.mean_flow.guidance = @guidances.constant()",
            "guidances.constant.weight = 1.0",
        ),
        4,
        5,
    ),
    "flow_matching": (
        (
            "train.loss = @losses.flow_matching()",
            "losses.flow_matching.time_sampler = @time_samplers.gap_star()",
            "losses.flow_matching.guidance = @guidances.constant()",
            "losses.flow_matching.flow_map = @flow_maps.scaled()",
            "guidances.constant.weight = 1.0",
        ),
        3,
        3,
    ),
}


@pytest.mark.parametrize("loss", FLOORS)
def test_nothing_is_computed_twice(loss):
    bindings, layers, attentions = FLOORS[loss]
    guided = "guidances.constant.weight = 2.0"
    trainer, batches = trainer_of(guided, "models.dit.depth = 6", *bindings)
    batch, ones = batches.at(1), torch.ones(8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        trainer.model(batch.x0, ones, ones, batch.labels, ones)
    tokens, hidden, depth = 16, 24, 6
    attention = 4 * len(ones) * tokens**2 * hidden * depth
    plain = counter.get_total_flops() - attention
    floor = layers * plain + attentions * attention
    # Less, since the first layers have neither a tangent nor a gradient of their inputs.
    assert 0.96 * floor < step_operations(trainer.settings) <= floor


def test_a_peak_rate_is_known_or_none():
    assert peak_rate("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_rate("Imaginary") is None
