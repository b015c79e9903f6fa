"""Components of plug-ins are tried before a run starts: the broken are refused, the odd are not."""

import time
from pathlib import Path

import pytest
import torch

from framework.answers import times_of
from framework.configuration import Configuration
from framework.errors import UserError
from framework.grid.plan import plan
from framework.probing import probe
from framework.training import plugged
from framework.training.experiment import Experiment
from tests.registered import registry_kept

DIGITS = Path(__file__).parents[3] / "gin/digits.gin"
ODD = str(Path(__file__).with_name("odd_parts.py"))
NORM, TIMES = "models.dit.normalization", "losses.tvm.time_sampler"
ATTENTION, OPTIMIZER, METRICS = "models.dit.attention", "train.optimizer", "evaluation.metrics"
FLOW_MATCHING = """train.loss = @losses.flow_matching()
losses.flow_matching.time_sampler = @time_samplers.uniform()
losses.flow_matching.guidance = @guidances.none()
losses.flow_matching.flow_map = @flow_maps.plain()
evaluation.sampler = @samplers.euler()
evaluation.weight = 1.0"""
REFUSED = {
    f"{ATTENTION} = @attentions.narrow()": (
        rf"attentions\.narrow \({ATTENTION}\): its output has the shape \(4, 2, 1, 8\)"
    ),
    f"{NORM} = @normalizations.mean": r"normalizations\.mean \(.*\): .* the shape \(4, 3, 1\)",
    f"{TIMES} = @time_samplers.late()": rf"time_samplers\.late \({TIMES}\): t leaves \[0, 1\]",
    f"{TIMES} = @time_samplers.backwards()": rf"\({TIMES}\): some t are smaller than their s",
    f"{TIMES} = @time_samplers.not_a_number()": rf"\({TIMES}\): t has numbers that are not finite",
    f"{TIMES} = @time_samplers.column()": r"time_samplers\.column \(.*shape \(256, 1\)",
    f"{OPTIMIZER} = @optimizers.first_only": (
        r"optimizers\.first_only.* leave out \d+ of \d+ parameters, such as \w+"
    ),
    "models.dit.time_embedding = @time_embeddings.rounded": r"its forward-mode derivative is zero",
    f"{OPTIMIZER} = @optimizers.forgetful": r"after load_state_dict its next step is another",
    f"{OPTIMIZER} = @optimizers.unreadable": r"its state holds a Generator, which no checkpoint",
    f"{OPTIMIZER} = @optimizers.rate_by_another_name": r"its groups have no learning rate 'lr'",
    f"{OPTIMIZER} = @optimizers.nothing": r"optimizers\.nothing: it returns a NoneType",
    f"{METRICS} = (@metrics.number,)": r"metrics\.number \(.*\): it returns a float",
    f"{METRICS} = (@metrics.upwards,)": r"metrics\.upwards \(.*\): .* the direction 'up'",
    f"{METRICS} = (@metrics.fixed, @b/metrics.fixed)\nb/metrics.fixed.scale = 2.0": (
        r"metrics\.fixed and b/metrics\.fixed both return the score 'fixed'"
    ),
    f"{METRICS} = (@metrics.fixed, @metrics.fixed_too)": (
        r"metrics\.fixed and metrics\.fixed_too both return the score 'fixed'"
    ),
}
ALLOWED = [
    f"{ATTENTION} = @attentions.linear()",
    f"{NORM} = @normalizations.torch_layer",
    f"{NORM} = @normalizations.noisy",
    f"{TIMES} = @time_samplers.double()",
    "models.dit.time_embedding = @time_embeddings.rounded\n" + FLOW_MATCHING,
    f"{OPTIMIZER} = @optimizers.part",
    f"{OPTIMIZER} = @optimizers.late_start",
    f"{METRICS} = (@metrics.fixed,)",
    f"{METRICS} = (@metrics.around,)\nmetrics.around.inner = @metrics.fixed",
]


@pytest.fixture(scope="module", autouse=True)
def odd_parts_stay_here():
    with registry_kept():
        yield


def experiment(binding):
    return Experiment.build(Configuration.load([DIGITS], binding.splitlines(), [ODD]).resolve())


@pytest.mark.parametrize("binding", REFUSED)
def test_what_breaks_its_protocol_is_refused(binding):
    built = experiment(binding)
    with pytest.raises(UserError, match=REFUSED[binding]) as error:
        built.check()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("binding", ALLOWED)
def test_what_is_only_unusual_is_not(binding, caplog):
    built, state = experiment(binding), torch.get_rng_state()
    began = time.monotonic()
    plugged.check(built.resolved, built.train.dataset, built.train.loss)
    assert time.monotonic() - began < 1
    assert torch.equal(torch.get_rng_state(), state), "a run draws other numbers for the check"
    built.check()
    assert not caplog.messages


def test_what_cannot_be_tried_is_warned_of(caplog):
    experiment(f"{NORM} = @normalizations.wide_only").check()
    (line,) = caplog.messages
    assert line.startswith("normalizations.wide_only was not tried before training: ValueError")


def test_a_grid_is_refused_too():
    sets = ["grid.name = 'odd'", f"grid.arms = {{'odd': {{'{NORM}': @normalizations.mean}}}}"]
    planned = plan(Configuration.load([DIGITS], sets, [ODD]), "odd")
    with pytest.raises(UserError, match=r"arm 'odd': normalizations\.mean"):
        probe.check(planned)


def test_a_sampler_of_times_is_looked_at_where_it_is_called():
    sampler = experiment(f"{TIMES} = @time_samplers.column()").train.loss.time_sampler
    with pytest.raises(UserError, match=r"time_samplers\.column: t is \(7, 1\), not a tensor"):
        times_of(sampler, torch.rand(7, 4))
