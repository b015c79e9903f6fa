"""Diagnostics against slow versions, and that they cost nothing when off."""

from pathlib import Path

import pytest
import torch

from framework.configuration import Configuration
from framework.lipschitz import stretch
from framework.streams import Streams
from framework.training.batches import Batches
from framework.training.diagnostics import Diagnostics
from framework.training.experiment import Experiment
from framework.training.trainer import Trainer
from tests.components.building import SlowEvaluator

DIGITS = Path(__file__).parents[3] / "gin/digits.gin"
SMALL = (
    "models.dit.hidden_size = 12",
    "models.dit.depth = 2",
    "train.batch_size = 32",
    "logging.diagnostics = ('modulation', 'norms', 'bins', 'lipschitz')",
)


@pytest.fixture(scope="module")
def trained():
    """A trainer after three steps, and what it is asked to log."""
    experiment = Experiment.build(Configuration.load([DIGITS], SMALL).resolve())
    train, cpu = experiment.train, torch.device("cpu")
    trainer = Trainer(train, cpu)
    batches = Batches(train.dataset, Streams(train.seed), train.batch_size, cpu)
    for step in (1, 2, 3):
        trainer.train_step(batches.at(step))
    return trainer, experiment.logging.diagnostics


def test_everything_asked_for_is_measured(trained):
    trainer, names = trained
    found = Diagnostics(names, trainer)()
    assert {"norm/velocity", "norm/jvp", "lipschitz/mean", "lipschitz/largest"} <= found.keys()
    for layer in ("blocks.0", "blocks.1", "output"):
        assert found[f"modulation/{layer}"] > 0
        assert found[f"modulation/{layer}.linear"] > 0
    assert found["lipschitz/largest"] >= found["lipschitz/mean"] > 0
    assert all(value == value for value in found.values())


def test_bins_are_means_over_times(trained):
    trainer, _ = trained
    found = Diagnostics(("bins",), trainer)()
    train = trainer.settings
    batch = Batches(train.dataset, Streams(train.seed), 32, trainer.device).at(1)
    times = train.loss.time_sampler(batch.uniform("times", 4))
    terms = train.loss(batch, lambda *queries: evaluate(trainer.model, trainer.averages, queries))
    for name, time, low, high in (("t", times.t, 0.5, 0.75), ("s", times.s, 0.25, 0.5)):
        expected = float(terms.parts["terminal"][(time >= low) & (time < high)].mean())
        tag = f"bins/terminal/{name}={low:g}-{high:g}"
        assert found[tag] == pytest.approx(expected, rel=1e-4)
    velocity = {tag for tag in found if tag.startswith("bins/flow_matching")}
    assert all("/t=" in tag for tag in velocity)


def evaluate(model, averages, queries):
    slow = SlowEvaluator(model, averages.networks)
    return slow(*queries)


def test_they_change_nothing_and_repeat(trained):
    trainer, names = trained
    before = [p.clone() for p in trainer.model.parameters()]
    measure = Diagnostics(names, trainer)
    assert measure() == measure()
    assert all(map(torch.equal, before, trainer.model.parameters()))
    assert all(p.grad is None for p in trainer.model.parameters())
    assert not any(module._forward_hooks for module in trainer.model.modules())


def test_nothing_is_computed_when_nothing_is_asked_for(trained):
    trainer, _ = trained
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.settings.loss.__class__, "__call__", None)
        assert Diagnostics((), trainer)() == {}


def test_stretch_is_the_largest_singular_value_of_each_sample():
    g = torch.Generator().manual_seed(1)
    matrices = torch.randn(5, 6, 6, generator=g, dtype=torch.float64)
    x = torch.randn(5, 2, 3, generator=g, dtype=torch.float64)

    def apply(x):
        return (matrices @ x.reshape(5, 6, 1)).sin().reshape(5, 2, 3)

    def jvp(x, v):
        return torch.func.jvp(apply, (x,), (v,))[1]

    slopes = (matrices @ x.reshape(5, 6, 1)).cos() * matrices
    exact = torch.linalg.matrix_norm(slopes, 2)
    torch.testing.assert_close(stretch(apply, jvp, x, 200), exact)
    assert (stretch(apply, jvp, x, 3) <= exact).all()
