"""Training steps on a GPU: no waiting, graphs and compiled blocks that agree with plain steps."""

from pathlib import Path

import pytest
import torch

from framework.training.compilation import (
    compile_steps,
    compiled_passes,
)
from framework.training.lean_graphs import lean_graphs
from tests import parity
from tests.framework.training.small import losses_of, trainer_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
STEPS = 20


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("graphs", [False, True])
def test_no_step_waits_for_the_device(precision, graphs):
    trainer, batches = trainer_of(
        f"train.precision = '{precision}'", f"train.cuda_graphs = {graphs}", device="cuda"
    )
    losses_of(trainer, batches, 5)
    step_without_waiting(trainer, batches, STEPS)
    assert trainer.step == STEPS + 5


def step_without_waiting(trainer, batches, steps):
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(steps):
            trainer.train_step(batches.at(trainer.step + 1))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_replayed_steps_are_the_steps():
    plain = losses_of(*trainer_of(device="cuda"), STEPS)
    graphed = losses_of(*trainer_of("train.cuda_graphs = True", device="cuda"), STEPS)
    assert graphed == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("pieces", [2, 4])
def test_replayed_micro_batches_add_up(pieces):
    plain = losses_of(*trainer_of(device="cuda"), STEPS)
    settings = ("train.cuda_graphs = True", f"train.accumulation = {pieces}")
    trainer, batches = trainer_of(*settings, device="cuda")
    assert losses_of(trainer, batches, STEPS) == pytest.approx(plain, rel=1e-4)
    step_without_waiting(trainer, batches, STEPS)


def test_a_parameter_frozen_after_the_recording_stays_as_it_is():
    trainer, batches = trainer_of("train.cuda_graphs = True", device="cuda")
    losses_of(trainer, batches, 6)
    first, second, *_ = trainer.model.parameters()
    for frozen, free in ((first, second), (second, first)):
        frozen.requires_grad_(False)
        free.requires_grad_(True)
        before = frozen.detach().clone(), free.detach().clone()
        losses_of(trainer, batches, 6)
        assert torch.equal(frozen, before[0])
        assert not torch.equal(free, before[1])


def compiled_losses(*settings):
    trainer, batches = trainer_of(*settings, device="cuda")
    assert compile_steps(trainer, batches.at(1))
    losses_of(trainer, batches, 5)
    step_without_waiting(trainer, batches, 40)
    return losses_of(trainer, batches, 5)


def test_compiled_and_plain_losses_agree_over_50_steps():
    settings = ("train.precision = 'fp32'", "train.batch_size = 64")
    plain = losses_of(*trainer_of(*settings, device="cuda"), 50)
    assert compiled_losses(*settings) == pytest.approx(plain, rel=1e-3)


def test_compiled_losses_in_bf16_stay_near_float32():
    batch = "train.batch_size = 64"
    exact = losses_of(*trainer_of(batch, device="cuda"), 50)
    compiled = compiled_losses(batch, "train.precision = 'bf16'")
    off = [abs(a / b - 1) for a, b in zip(compiled, exact, strict=True)]
    assert max(off[:5]) < 1e-2
    # Fifty steps amplify rounding to several per cent of a single loss, plain ones too.
    assert sum(off) / len(off) < 0.05


def gradient_of(*settings, compiled):
    """Return the first step's gradient, all parameters in one."""
    descent = ("train.optimizer = @optimizers.sgd()", "optimizers.sgd.lr = 1.0")
    trainer, batches = trainer_of("train.batch_size = 64", *descent, *settings, device="cuda")
    before = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    if compiled:
        assert compile_steps(trainer, batches.at(1))
    trainer.train_step(batches.at(1))
    return before - torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def test_compiled_gradients_in_bf16_are_as_near_float32_as_plain_ones():
    bf16 = "train.precision = 'bf16'"
    exact = gradient_of(compiled=False)
    plain, compiled = (gradient_of(bf16, compiled=way) - exact for way in (False, True))
    assert compiled.norm() < 1.2 * plain.norm()
    assert plain.norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("golden", sorted((Path(parity.__file__).parent / "golden").glob("*.npz")))
def test_golden_numbers_hold_compiled_in_float32(golden):
    with lean_graphs():
        errors = dict(parity.compare(golden, passes=compiled_passes(), device="cuda"))
    assert not {name: value for name, value in errors.items() if not value <= parity.TOLERANCE}


@pytest.mark.parametrize("settings", [(), ("train.cuda_graphs = True",), ("train.compile = True",)])
def test_a_deterministic_run_goes_on_bit_for_bit(settings):
    given = ("train.precision = 'bf16'", "train.batch_size = 64", *settings)
    torch.use_deterministic_algorithms(True)
    try:
        (whole, batches), (first, _), (second, _) = (begun(given) for _ in range(3))
        losses_of(whole, batches, 8)
        losses_of(first, batches, 4)
        second.load_state_dict(first.state_dict())
        losses_of(second, batches, 4)
    finally:
        torch.use_deterministic_algorithms(False)
    found, expected = (trainer.model.state_dict() for trainer in (second, whole))
    assert [name for name, x in found.items() if not torch.equal(x, expected[name])] == []


def begun(settings):
    trainer, batches = trainer_of(*settings, device="cuda")
    if trainer.settings.compile:
        assert compile_steps(trainer, batches.at(1))
    return trainer, batches
