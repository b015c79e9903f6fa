"""How a run is judged: evaluations that the sampler chooses, and several guidance weights."""

from importlib.util import find_spec

import h5py
import pytest
from torch import nn

from framework import UserError, register
from framework.protocols import Score
from framework.report import findings
from framework.results import load
from framework.results.names import UNGROUPED
from framework.runs.heartbeat import read
from framework.training import State, folder, run
from framework.training.again import Changes, measure_again
from framework.training.drawing import Wanted, draw_pictures
from framework.training.experiment import Experiment
from framework.training.restored import restore
from tests.framework.training.plane import ADAPTIVE, RANDOM, VELOCITY, configured, trained

SLICED = "metrics.sliced_wasserstein"
needs_torchdiffeq = pytest.mark.skipif(find_spec("torchdiffeq") is None, reason="needs torchdiffeq")


@needs_torchdiffeq
def test_evaluations_that_the_sampler_chooses_are_a_score(tmp_path):
    directory = trained(tmp_path / "run", *ADAPTIVE)
    rows = load(directory, kinds=["evaluation"])
    assert set(rows["metric"]) == {"sliced_w2@directions=256", "nfe"}
    assert rows["nfe"].isna().all()
    assert set(rows["time_grid"]) == {"adaptive"}
    spent = float(rows.loc[rows["metric"] == "nfe", "value"].iloc[0])
    assert 5 < spent < 200
    with h5py.File(directory / "results.h5") as file:
        assert set(file["evaluations"]["nfe"]) == {-1}
        (name,) = file["samples/2"]
        assert int(name.removeprefix("nfe=")) > 5
    analysis = findings(directory.parent)
    assert analysis.selection.metric == "sliced_w2"
    assert analysis.selection.nfe is None
    assert [other.metric for other in analysis.others] == ["nfe"]


def test_scalars_without_a_group_are_known(tmp_path):
    """A grid may rank by them: no other name without a slash is a scalar's."""
    tags = load(trained(tmp_path / "run"), kinds=["scalar"])["metric"].unique()
    assert {tag for tag in tags if "/" not in tag} == set(UNGROUPED)


@needs_torchdiffeq
def test_a_number_of_evaluations_is_for_samplers_of_fixed_steps(tmp_path):
    for sets, message in (
        (ADAPTIVE[:-1], r"evaluation\.nfe: samplers\.adaptive .*set evaluation\.nfe = None"),
        ((*VELOCITY, *ADAPTIVE[-1:], "evaluation.sampler = @samplers.euler()"), "fixed steps"),
    ):
        with pytest.raises(UserError, match=message):
            Experiment.build(configured(*sets).resolve()).check()
    restored = restore(trained(tmp_path / "run", *ADAPTIVE))
    with pytest.raises(UserError, match=r"samplers\.adaptive finds its number"):
        measure_again(restored, Changes(nfe=[4]))
    (sheet,) = draw_pictures(restored, Wanted([], count=2), tmp_path / "drawn")
    assert int(sheet.stem.removeprefix("nfe=")) > 5


def test_a_sampler_that_spends_other_than_it_is_asked_is_refused(plugged):
    @register.sampler("thrifty")
    class Thrifty:
        def __call__(self, field, noise, c, w, nfe):
            for _ in range(nfe - 1):
                field.velocity(noise, w, c, w)
            return noise.double()

    sets = [*VELOCITY, "evaluation.sampler = @samplers.thrifty()"]
    with pytest.raises(UserError, match="asked for 4 evaluations and makes 3"):
        Experiment.build(configured(*sets, "evaluation.nfe = (4,)").resolve()).check()
    with pytest.raises(UserError, match=r"nfe is None, and samplers\.thrifty wants a number"):
        Experiment.build(configured(*sets, "evaluation.nfe = None").resolve()).check()


def test_one_training_is_judged_at_several_weights(tmp_path):
    directory = trained(tmp_path / "run", *RANDOM)
    rows = load(directory, kinds=["evaluation"]).set_index("w")["value"]
    assert list(rows.index) == [2.0, 1.5]
    assert rows[2.0] != rows[1.5]
    (alone,) = measure_again(restore(directory), Changes(weight=1.5))
    assert alone.score.value == rows[1.5]


def test_every_weight_has_to_be_trained():
    with pytest.raises(UserError, match=r"weight 3, and losses\.tvm trains 1 to 2"):
        Experiment.build(configured(*RANDOM, "evaluation.weight = (2.0, 3.0)").resolve()).check()


def test_one_weight_is_the_same_run_as_before():
    one, several = (
        configured(*RANDOM, f"evaluation.weight = {weight}").resolve()
        for weight in ("2.0", "(2.0,)")
    )
    assert one.settings["evaluation.weight"] == 2.0
    assert one.identity != several.identity


def twice(second):
    """One metric twice: with one direction, and with as many as `second` says."""
    metrics = "(@metrics.sliced_wasserstein, @b/metrics.sliced_wasserstein)"
    return (
        *("evaluation.nfe = (1,)", f"evaluation.metrics = {metrics}"),
        *("metrics.sliced_wasserstein.directions = 1", f"b/{SLICED}.directions = {second}"),
    )


def test_one_metric_with_two_settings_gives_two_scores(tmp_path):
    directory = trained(tmp_path / "run", *twice(500))
    rows = load(directory, kinds=["evaluation"]).set_index("metric")["value"]
    assert list(rows.index) == ["sliced_w2@directions=1", "sliced_w2@directions=500"]
    shown = read(directory).metrics
    assert shown == {f"{name}/nfe=1": pytest.approx(value) for name, value in rows.items()}
    selection = findings(directory.parent, "sliced_w2").selection
    assert list(selection.rows["value"]) == [rows["sliced_w2@directions=1"]]
    assert any("also logged: sliced_w2@directions=500" in note for note in selection.notes)


def test_one_metric_twice_is_refused_before_training():
    with pytest.raises(UserError, match=r"metrics\.sliced_wasserstein and @b/.* the same settings"):
        Experiment.build(configured(*twice(1)).resolve()).check()


def test_two_metrics_that_return_one_score_are_refused(plugged, tmp_path):
    @register.metric("thin")
    class Thin:
        def __init__(self, dataset):
            pass

        def __call__(self, samples, labels):
            return [Score("sliced_w2@directions=256", 0.0, "lower")]

    both = "evaluation.metrics = (@metrics.sliced_wasserstein, @metrics.thin)"
    resolved = configured(both).resolve()
    folder.prepare(tmp_path, resolved)
    with pytest.raises(UserError, match=r"metrics\.sliced_wasserstein and metrics\.thin both"):
        run(tmp_path)


def test_what_was_trained_outlives_a_judge_that_fails(plugged, tmp_path):
    works = []

    @register.metric("failing")
    class Failing:
        def __init__(self, dataset):
            pass

        def __call__(self, samples, labels):
            if not works:
                raise OSError("no space left")
            return [Score("failing", 1.0, "lower")]

    resolved = configured("evaluation.metrics = (@metrics.failing,)").resolve()
    folder.prepare(tmp_path, resolved)
    with pytest.raises(OSError, match="no space left"):
        run(tmp_path)
    assert restore(tmp_path).step == 2
    works.append(True)
    assert run(tmp_path) is State.DONE
    assert set(load(tmp_path, kinds=["evaluation"]).metric) == {"failing"}


def test_what_is_dropped_in_training_is_not_when_the_trained_weights_are_judged(dropping):
    again = [
        [measured.score.value for measured in measure_again(run, Changes(weights="trained"))]
        for run in (restore(dropping), restore(dropping))
    ]
    assert again[0] == again[1]


def test_running_statistics_are_refused(plugged):
    @register.normalization("running")
    class Running(nn.BatchNorm1d):
        def __init__(self, dim):
            super().__init__(1)

    sets = "models.mlp.normalization = @normalizations.running"
    with pytest.raises(UserError, match=r"blocks\.0\.norm .Running. keeps running statistics"):
        Experiment.build(configured(sets).resolve()).check()
