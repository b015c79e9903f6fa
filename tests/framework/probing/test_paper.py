"""Every ablation of the paper that one can write has arms that the probe sees differ."""

import pytest

from framework.probing.fingerprints import (
    AVERAGES,
    CLIPPING,
    EVALUATION,
    GRADIENTS,
    GUIDANCE,
    INITIAL,
    LENGTH,
    LOSSES,
    OPTIMIZER,
    RATE,
    SAMPLES,
    TIMES,
)
from tests.framework.probing.conftest import probed_and_refused, toy_plan

CLAMP = "'losses.tvm.time_sampler': @time_samplers.clamp()"
TRUNC = "'losses.tvm.time_sampler': @time_samplers.trunc()"
RANDOM = "'losses.tvm.guidance': @guidances.random_beta(), 'evaluation.weight': 1.5"
ARMS = {  # name: (bindings, the first group that differs)
    "gap": ("'losses.tvm.time_sampler': @time_samplers.gap()", TIMES),
    "gap_mean": ("'time_samplers.gap_star.gap_mean': -1.0", TIMES),
    "gap_std": ("'time_samplers.gap_star.gap_std': 1.4", TIMES),
    "clamp": (CLAMP, TIMES),
    "clamp-2": (f"{CLAMP}, 'time_samplers.clamp.t_mean': 2.0", TIMES),
    "trunc": (TRUNC, TIMES),
    "trunc-2": (f"{TRUNC}, 'time_samplers.trunc.t_std': 2.0", TIMES),
    "equal_share": ("'time_samplers.gap_star.equal_share': 0.1", TIMES),
    "equal_share_small": ("'time_samplers.gap_star.equal_share': 0.002", TIMES),
    "random": (RANDOM, GUIDANCE),
    "dropout-0": ("'guidances.constant.label_dropout': 0.0", GUIDANCE),
    "dropout-0.11": ("'guidances.constant.label_dropout': 0.11", GUIDANCE),
    "weight": ("'guidances.constant.weight': 2.0", GUIDANCE),
    "decay-0": ("'losses.tvm.target_decay': 0.0", None),
    "decay-0.999": ("'losses.tvm.target_decay': 0.999", None),
    "unscaled": ("'losses.tvm.flow_map': @flow_maps.plain()", LOSSES),
    "detach": ("'losses.tvm.detach_jvp': True", None),
    "beta2": ("'optimizers.adamw.betas': (0.9, 0.999)", OPTIMIZER),
    "eps": ("'optimizers.adamw.eps': 1e-12", OPTIMIZER),
    "weight_decay": ("'optimizers.adamw.weight_decay': 1e-6", OPTIMIZER),
    "clip": ("'train.clip_norm': 0.1", None),
    "clip-high": ("'train.clip_norm': 100000.0", CLIPPING),
    "layer": ("'models.dit.normalization': @normalizations.layer", LOSSES),
    "modulation": ("'models.dit.modulation_norm': @modulation_norms.none", LOSSES),
    "qk": ("'models.dit.qk_norm': @qk_norms.none", INITIAL),
    "initializer": ("'models.dit.initializer': @initializers.xavier_uniform()", INITIAL),
    "spectral_time": ("'models.dit.initializer': @initializers.spectral_time()", INITIAL),
    "end": ("'models.dit.second_time': @second_times.end", LOSSES),
    "no_beta": ("'models.dit.guidance_embedding': False", INITIAL),
    "cosine": ("'train.schedule': @schedules.cosine()", None),
    "average": ("'evaluation_average/weight_averages.constant.decay': 0.9999", AVERAGES),
    "sampled_at": ("'evaluation.weight': 2.0", SAMPLES),
    "euler": ("'evaluation.sampler': @samplers.euler()", SAMPLES),
    "heun": ("'evaluation.sampler': @samplers.heun()", SAMPLES),
    "power": ("'samplers.flow_map.time_power': 1.5", SAMPLES),
    "nfe": ("'evaluation.nfe': (1, 2, 4, 8)", EVALUATION),
    "longer": ("'train.steps': 900", LENGTH),
    "batch": ("'train.batch_size': 32", None),
    "lr": ("'optimizers.adamw.lr': 1e-3", None),
    "muon": ("'train.optimizer': @optimizers.muon", OPTIMIZER),
    "flow_matching": ("'train.loss': @losses.flow_matching()", None),
    "mean_flow": ("'train.loss': @losses.mean_flow()", None),
    "bf16": ("'train.precision': 'bf16'", LOSSES),
}
NEEDS = tuple(
    f"losses.{loss}.{part}"
    for loss in ("flow_matching", "mean_flow")
    for part in ("time_sampler = @time_samplers.gap_star()", "guidance = @guidances.constant()")
)
FLOW_MAP = "losses.flow_matching.flow_map = @flow_maps.scaled()"


@pytest.fixture(scope="module")
def probed():
    arms = ", ".join(f"'{name}': {{{bindings}}}" for name, (bindings, _) in ARMS.items())
    return probed_and_refused(toy_plan(f"grid.arms = {{{arms}}}", *NEEDS, FLOW_MAP))


def test_no_arm_is_refused(probed):
    assert probed[1] == []


@pytest.mark.parametrize("arm", [name for name, (_, group) in ARMS.items() if group])
def test_each_differs_where_it_acts_first(probed, arm):
    runs, _ = probed
    assert runs[arm].fingerprint.differing(runs["baseline"].fingerprint)[0] == ARMS[arm][1]


def test_late_acting_settings_are_seen_where_they_act(probed):
    runs, _ = probed
    baseline = runs["baseline"].fingerprint
    for arm, group in [
        ("beta2", OPTIMIZER),
        ("cosine", RATE),
        ("clip", CLIPPING),
        ("detach", GRADIENTS),
        ("decay-0.999", AVERAGES),
    ]:
        assert group in runs[arm].fingerprint.differing(baseline)
    clipped = runs["clip-high"].fingerprint.differing(baseline)
    assert clipped == [CLIPPING]


def test_a_repeated_probe_is_the_same_to_the_last_bit(probed):
    again, _ = probed_and_refused(toy_plan("grid.arms = {'gap': {'train.steps': 900}}"))
    assert again["baseline"].fingerprint.digest == probed[0]["baseline"].fingerprint.digest
