"""Arms that the probe has to refuse: settings that reach nobody, equal arms, meddling ones."""

from pathlib import Path

import pytest

from framework.errors import UserError
from framework.kinds import KINDS
from framework.probing import probe
from tests.framework.probing.conftest import probed_and_refused, toy_plan

HERE = Path(__file__).parent
INERT = str(HERE / "inert_parts.py")
MEDDLING = str(HERE / "meddling_parts.py")
WRAPPED = (
    "train.model = @models.inert",
    "models.inert.inner = @models.dit",
    "train.loss = @losses.inert()",
    "losses.inert.inner = @losses.tvm()",
    "train.optimizer = @optimizers.inert",
    "optimizers.inert.inner = @optimizers.adamw",
    "train.schedule = @schedules.inert()",
    "schedules.inert.inner = @schedules.constant()",
    "train.dataset = @datasets.inert()",
    "datasets.inert.inner = @datasets.digits()",
    "train.evaluation_average = @evaluation_average/weight_averages.inert()",
    "evaluation_average/weight_averages.inert.inner = @weight_averages.constant()",
    "models.dit.time_embedding = @time_embeddings.inert",
    "time_embeddings.inert.inner = @time_embeddings.sinusoidal",
    "models.dit.second_time = @second_times.inert",
    "second_times.inert.inner = @second_times.difference",
    "models.dit.normalization = @normalizations.inert",
    "normalizations.inert.inner = @normalizations.rms",
    "models.dit.modulation_norm = @modulation_norms.inert",
    "modulation_norms.inert.inner = @modulation_norms.rms",
    "models.dit.qk_norm = @qk_norms.inert",
    "qk_norms.inert.inner = @qk_norms.rms",
    "models.dit.attention = @attentions.inert()",
    "attentions.inert.inner = @attentions.dense()",
    "models.dit.initializer = @initializers.inert()",
    "initializers.inert.inner = @initializers.spectral()",
    "losses.tvm.time_sampler = @time_samplers.inert()",
    "time_samplers.inert.inner = @time_samplers.gap()",
    "losses.tvm.guidance = @guidances.inert()",
    "guidances.inert.inner = @guidances.constant()",
    "losses.tvm.flow_map = @flow_maps.inert()",
    "flow_maps.inert.inner = @flow_maps.scaled()",
    "evaluation.sampler = @samplers.inert()",
    "samplers.inert.inner = @samplers.flow_map()",
    "evaluation.metrics = (@metrics.inert,)",
)
SCOPES = {"weight_average": "evaluation_average/"}


@pytest.fixture(scope="module")
def inert() -> list[str]:
    """The refusals of a grid in which no arm does anything."""
    arms = {kind.name: {f"{SCOPES.get(kind.name, '')}{kind.module}.inert.ignored": 1.0}
            for kind in KINDS.values()}  # fmt: skip
    planned = toy_plan(*WRAPPED, f"grid.arms = {arms!r}", plugins=(INERT,))
    return probed_and_refused(planned)[1]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_setting_that_reaches_nobody_is_refused(inert, kind):
    lines = [line for line in inert if line.startswith(f"arm '{kind.name}' ")]
    assert len(lines) == 1
    assert "draws, trains and samples exactly as the baseline 'baseline'" in lines[0]
    assert f"{kind.module}.inert.ignored = 1.0 (not 0.0) reaches nobody" in lines[0]
    assert "or name the axis in grid.equivalent if it is to change the cost alone" in lines[0]


def test_settings_of_the_framework_that_change_nothing_are_refused(refused):
    arms = {"a": {"evaluation.batch_size": 77}, "b": {"train.deterministic": True}}
    assert len(refused(f"grid.arms = {arms!r}")) == 2


def test_a_time_grid_matters_to_no_one_step_sampler(refused):
    axis = "grid.axes = {'samplers.flow_map.time_power': [1.0, 2.0]}"
    assert refused(axis) == []
    (line,) = refused(axis, "evaluation.nfe = (1,)")
    assert "samplers.flow_map.time_power = 2.0 (not 1.0) reaches nobody" in line


def test_arms_that_equal_each_other_are_refused(refused):
    arms = ", ".join(
        f"'{name}': {{'losses.tvm.guidance': @guidances.inert(), 'guidances.inert.ignored': {x}}}"
        for name, x in [("one", 1.0), ("two", 2.0)]
    )
    base = "guidances.inert.inner = @guidances.none()"
    (line,) = refused(base, f"grid.arms = {{{arms}}}", plugins=(INERT,))
    assert "arm 'two' draws, trains and samples exactly as arm 'one'" in line
    assert "guidances.inert.ignored = 2.0 (not 1.0) reaches nobody" in line


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("{'losses.tvm.guidance': @guidances.in_place()}", "changes data"),
        ("{'train.optimizer': @optimizers.restarting}", "changes initial weights"),
    ],
)
def test_a_change_that_is_not_declared_is_refused(refused, binding, words):
    lines = refused(f"grid.arms = {{'arm': {binding}}}", plugins=(MEDDLING,))
    assert len(lines) == 1
    assert f"arm 'arm' {words}, which it should share with the baseline 'baseline'" in lines[0]


def test_a_declared_change_is_not(refused):
    arm = "grid.arms = {'arm': {'losses.tvm.time_sampler': @time_samplers.mirrored()}}"
    assert refused(arm, plugins=(MEDDLING,)) == []


def equivalent(*attentions: str) -> tuple[str, ...]:
    listed = ", ".join(f"@attentions.{name}()" for name in attentions)
    return (
        f"grid.axes = {{'models.dit.attention': [{listed}], "
        "'losses.tvm.target_decay': [0.9, 0.99]}",
        "grid.equivalent = ['models.dit.attention']",
    )


def test_equivalent_arms_have_to_agree(refused):
    assert refused(*equivalent("dense", "sdpa")) == []
    lines = refused(*equivalent("dense", "off"), plugins=(MEDDLING,))
    assert len(lines) == 2
    assert "are declared grid.equivalent and their" in lines[0]


def test_the_losses_of_all_micro_batches_are_compared(refused):
    arms = "grid.axes = {'train.accumulation': [1, 4]}"
    assert refused(arms, "grid.equivalent = ['train.accumulation']") == []


def test_micro_batches_need_not_divide_the_batch_of_a_probe(refused):
    axis = "grid.axes = {'losses.tvm.target_decay': [0.9, 0.99]}"
    assert refused("train.batch_size = 256", "train.accumulation = 16", axis) == []
    axes = "grid.axes = {'train.accumulation': [1, 16], 'train.batch_size': [128, 256]}"
    runs, lines = probed_and_refused(toy_plan(axes, "grid.equivalent = ['train.accumulation']"))
    assert lines == [] and all(run.fingerprint for run in runs.values())


def test_an_equivalent_arm_that_cannot_run_here_is_not_compared():
    planned = toy_plan(*equivalent("dense", "elsewhere"), plugins=(MEDDLING,))
    findings = probe.probe(planned)
    shown = findings.differs["attention=elsewhere,target_decay=0.99"]
    assert shown.startswith("not probed: ValueError: needs a GPU (meddling_parts.py:")


def test_an_arm_that_fails_is_refused(refused):
    arm = "grid.arms = {'gpu': {'models.dit.attention': @attentions.elsewhere()}}"
    (line,) = refused(arm, plugins=(MEDDLING,))
    assert line.startswith("arm 'gpu': ValueError: needs a GPU")


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("{'losses.tvm.target_decay': 0.5}", "which the arms differ in"),
        ("{'time_samplers.clamp.t_mean': 0.5}", "which no arm uses"),
        ("{'models.dit.hidden_size': 4096, 'models.dit.num_heads': 64}", "M parameters on the CPU"),
    ],
)
def test_what_grid_probe_may_not_bind(binding, words):
    axis = "grid.axes = {'losses.tvm.target_decay': [0.9, 0.99]}"
    planned = toy_plan(axis, f"grid.probe = {binding}")
    with pytest.raises(UserError, match=words):
        probe.probe(planned)
