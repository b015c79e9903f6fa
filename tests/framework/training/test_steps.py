"""Settings that change a step's cost and not its mathematics, on a small network on digits."""

import pytest
import torch

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
    calls = {"forward": 0, "jvp": 0}

    def counted(name, function):
        def call(*args):
            calls[name] += 1
            return function(*args)

        return call

    plain = Passes()
    passes = Passes(counted("forward", plain.block_forward), counted("jvp", plain.block_jvp), 2)
    evaluator = Evaluator(trainer.model, trainer.averages.networks, passes)
    terms = trainer.settings.loss(batches.at(1), evaluator)
    before = dict(calls)
    terms.total.sum().backward()
    again = {name: calls[name] - before[name] for name in calls}
    assert again == ({"forward": 1, "jvp": 0} if detach else {"forward": 1, "jvp": 1})


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
    detached, _ = trainer_of("losses.tvm.detach_jvp = True")
    assert step_operations(detached.settings) < once


def test_a_peak_rate_is_known_or_none():
    assert peak_rate("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_rate("Imaginary") is None
