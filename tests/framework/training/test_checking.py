"""Combinations that make no sense are refused before training, with the reason."""

import time

import pytest

from framework.configuration import Configuration
from framework.errors import UserError
from framework.training.experiment import Experiment

RANDOM = "losses.tvm.guidance = @guidances.random_beta()"
FLOW_MATCHING = (
    "train.loss = @losses.flow_matching()",
    "losses.flow_matching.time_sampler = @time_samplers.uniform()",
    "losses.flow_matching.guidance = @guidances.none()",
    "losses.flow_matching.flow_map = @flow_maps.plain()",
)
GUIDED = (
    "evaluation.sampler = @samplers.guided()",
    "samplers.guided.sampler = @samplers.euler()",
    "evaluation.nfe = (4,)",
)
RANDOM_MEAN_FLOW = (
    "train.loss = @losses.mean_flow()",
    "losses.mean_flow.time_sampler = @time_samplers.gap()",
    "losses.mean_flow.guidance = @guidances.random_beta()",
    "losses.mean_flow.mix = 'random'",
    "guidances.random_beta.w_min = 1.5",
    "guidances.random_beta.w_max = 2.0",
    "evaluation.weight = 2.0",
)
REFUSED = {
    (*RANDOM_MEAN_FLOW, "losses.mean_flow.kappa = 0.3"): (
        "takes targets at the guidance weight 1, and trains 1.5 to 2"
    ),
    ("models.dit.second_time = @second_times.none",): "does not see s.*second_times.difference",
    ("models.dit.attention = @attentions.sdpa()",): "sdpa has no derivative.*attentions.auto",
    FLOW_MATCHING: "samplers.flow_map takes jumps.*flow_matching never trains.*samplers.euler",
    (
        "losses.tvm.time_sampler = @time_samplers.uniform()",
        "time_samplers.uniform.equal_share = 1.0",
    ): "takes jumps",
    ("evaluation.weight = 2.0",): "weight 2, and losses.tvm trains 1.5 alone",
    (RANDOM, "evaluation.weight = 3.0"): "weight 3, and losses.tvm trains 1 to 2",
    (RANDOM, "evaluation.weight = 1.5", "models.dit.guidance_embedding = False"): (
        "weights from 1 to 2, and models.dit does not see them"
    ),
    ("guidances.constant.label_dropout = 0.0",): "never trains it.*label_dropout",
    ("guidances.constant.label_dropout = 1.0",): "asks for a class, which.*label_dropout",
    (*FLOW_MATCHING, *GUIDED, "guidances.none.label_dropout = 0.0"): "asks for the empty class",
    (*FLOW_MATCHING, *GUIDED, "evaluation.nfe = (1,)"): "evaluation.nfe: .* 1 is odd",
    ("evaluation.metrics = (@metrics.wasserstein,)",): "metrics.wasserstein takes points",
    ("train.dataset = @datasets.checkerboard()",): "models.dit takes images",
    ("evaluation.samples = 1",): r"frechet_distance needs 2 samples, and evaluation\.samples is 1",
    ("train.device = 'meta'",): "train.device = 'meta': runs train on 'cpu' or 'cuda'",
    ("evaluation.nfe = (1, 2, 1)",): r"evaluation\.nfe = \(1, 2, 1\) has one of them twice",
    (RANDOM, "evaluation.weight = (2, 2.0)"): r"weight = \(2\.0, 2\.0\) has one of them twice",
}
ALLOWED = [
    (),
    RANDOM_MEAN_FLOW,
    ("evaluation.sampler = @samplers.heun()",),
    (RANDOM, "evaluation.weight = 1.5"),
    ("models.dit.guidance_embedding = False",),
    ("guidances.constant.label_dropout = 1e-4",),
    ("guidances.constant.label_dropout = 0.9999",),
    ("models.dit.attention = @attentions.dense()",),
    (*FLOW_MATCHING, *GUIDED, "evaluation.weight = 2.0"),
    (
        *FLOW_MATCHING,
        "models.dit.second_time = @second_times.none",
        "models.dit.attention = @attentions.sdpa()",
        "evaluation.sampler = @samplers.euler()",
    ),
]
# What arms of a grid leave unused in digits.gin is allowed there; here it is included.
BASE = "include 'gin/digits.gin'\n"


def experiment(bindings, tmp_path):
    path = tmp_path / "run.gin"
    path.write_text(BASE)
    return Experiment.build(Configuration.load([path], bindings).resolve())


@pytest.mark.parametrize("bindings", REFUSED, ids=lambda b: b[-1])
def test_it_is_refused_with_the_reason(bindings, tmp_path):
    with pytest.raises(UserError, match=REFUSED[bindings]) as error:
        experiment(bindings, tmp_path).check()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("bindings", ALLOWED, ids=lambda b: b[-1] if b else "digits")
def test_it_is_allowed(bindings, tmp_path):
    experiment(bindings, tmp_path).check()


def test_a_large_model_is_checked_at_once(tmp_path):
    built = experiment(
        ("models.dit.hidden_size = 1152", "models.dit.depth = 28", "models.dit.num_heads = 18"),
        tmp_path,
    )
    built.check()
    start = time.monotonic()
    built.check()
    assert time.monotonic() - start < 3  # a fifth of that where nothing else runs
