"""What a grid ranks by is compared with how its cells are evaluated, before they train."""

import pytest

from framework import register, registry
from framework.errors import UserError
from tests.registered import registry_kept

AXIS = "grid.axes = {'losses.tvm.target_decay': [0.0, 0.99]}"
FD = "evaluation.metrics = (@metrics.frechet_distance,)"
NFE = "evaluation.nfe = (1, 2, 4)"


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["grid.metric_nfe = 3"], r"metric_nfe is 3, and evaluation\.nfe of arm '.*' is 1, 2, 4:"),
        (["grid.metric = 'fid'"], r"'fid', and the metrics of arm '.*' return fd; did you mean fd"),
        (["grid.metric = 'fid@digits-1a2b3c4d'"], "'fid', and the metrics"),
        (
            ["grid.metric_nfe = 2", "grid.arms = {'few': {'evaluation.nfe': (1,)}}"],
            r"evaluation\.nfe of arm 'few' is 1:",
        ),
    ],
)
def test_what_no_run_will_have_is_refused(plan_of, sets, message):
    with pytest.raises(UserError, match=message):
        plan_of(AXIS, FD, NFE, *sets)


@pytest.mark.parametrize(
    "sets",
    [
        ["grid.metric_nfe = 4"],
        ["grid.metric = 'loss/total'", "grid.metric_nfe = 3"],
        ["grid.metric = 'gradient_norm'"],
        ["evaluation.nfe = None", "grid.metric = 'nfe'", "grid.metric_nfe = 1"],
    ],
)
def test_what_runs_will_have_is_not(plan_of, sets):
    assert plan_of(AXIS, FD, NFE, *sets).doubt == ""


def test_one_jump_is_judged_whatever_samples_take(plan_of):
    sets = (AXIS, "evaluation.nfe = (4,)", "grid.metric_nfe = 1", "grid.metric = 'flow_error'")
    assert plan_of(*sets, "evaluation.metrics = (@metrics.flow_error,)").doubt == ""


def test_what_a_metric_does_not_say_is_doubted(plan_of):
    fd = registry.component("metrics.frechet_distance").build
    with registry_kept():

        @register.metric("derived")
        class Derived(fd):
            """It may return other scores than what it is derived from."""

        planned = plan_of(AXIS, "evaluation.metrics = (@metrics.derived,)", "grid.metric = 'mine'")
    assert planned.doubt.startswith("grid.metric = 'mine': whether metrics.derived returns it")
    assert "no evaluation.metrics" in plan_of(AXIS, "evaluation.metrics = ()").doubt
