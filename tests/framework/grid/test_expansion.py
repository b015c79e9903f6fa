"""Expansion: which cells a grid has, and what it refuses."""

from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framework.errors import UserError
from framework.grid.points import points
from framework.grid.settings import Grid

AXES = ["losses.tvm.target_decay", "optimizers.adamw.lr", "guidances.constant.weight"]
VALUES = [0.25, 0.5, 0.75, 0.875]
DECAY = "grid.axes = {'losses.tvm.target_decay': [0.0, 0.9, 0.99]}"


def axes(sizes):
    return {name: VALUES[:size] for name, size in zip(AXES, sizes)}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sizes=st.lists(st.integers(1, 4), max_size=3), data=st.data())
def test_the_product_has_every_combination_once_but_the_excluded(base, sizes, data):
    chosen = axes(sizes)
    combinations = [dict(zip(chosen, values)) for values in product(*chosen.values())]
    out = {}
    if sizes and len(combinations) > 1:
        names = data.draw(st.sets(st.sampled_from(list(chosen)), min_size=1))
        out = {name: data.draw(st.sampled_from(chosen[name])) for name in names}
    left = [c for c in combinations if not out or any(c[n] != v for n, v in out.items())]
    grid = Grid(axes=chosen, exclude=[out] if out else [])
    if not left:
        with pytest.raises(UserError, match="leaves out every arm"):
            points(base, grid)
        return
    found = points(base, grid)
    assert list(found.arms.values()) == (left if chosen else [])
    assert len({name.casefold() for name in found.arms}) == len(found.arms)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(length=st.integers(1, 4), crossed=st.integers(1, 4))
def test_zips_move_together_and_cross_with_axes(base, length, crossed):
    columns = {AXES[0]: VALUES[:length], AXES[1]: VALUES[::-1][:length]}
    found = points(base, Grid(axes={AXES[2]: VALUES[:crossed]}, zips={"both": columns}))
    pairs = set(zip(*columns.values()))
    assert len(found.arms) == length * crossed
    assert {(p[AXES[0]], p[AXES[1]]) for p in found.arms.values()} == pairs


def test_names_are_made_of_what_differs(plan_of):
    planned = plan_of(
        "grid.axes = {'losses.tvm.target_decay': [0.0, 0.9], 'train.batch_size': [64],"
        " 'losses.tvm.time_sampler': [@gap(), @clamp()]}",
    )
    assert [arm.name for arm in planned.arms] == [
        "baseline",
        "target_decay=0.0,time_sampler=gap",
        "target_decay=0.0,time_sampler=clamp",
        "target_decay=0.9,time_sampler=gap",
        "target_decay=0.9,time_sampler=clamp",
    ]
    assert planned.arms[1].settings["losses.tvm.time_sampler"] == "@time_samplers.gap()"


def test_the_baseline_is_found_among_the_arms_or_added(plan_of):
    assert plan_of(DECAY).baseline == "target_decay=0.99"  # the default of digits.gin
    named = plan_of(DECAY, "grid.baseline = {'losses.tvm.target_decay': 0.9}")
    assert (named.baseline, len(named.arms)) == ("target_decay=0.9", 3)
    added = plan_of(DECAY, "grid.baseline = {'losses.tvm.target_decay': 0.5}")
    assert (added.baseline, len(added.arms)) == ("baseline", 4)
    assert added.arms[0].settings == {"losses.tvm.target_decay": "0.5"}
    assert [arm.name for arm in plan_of().arms] == ["baseline"]


def test_arms_differ_from_the_baseline_one_at_a_time(plan_of):
    planned = plan_of(
        "grid.baseline = {'losses.tvm.target_decay': 0.9}",
        "grid.arms = {'slow': {'optimizers.adamw.lr': 1e-4}, 'small': {'train.batch_size': 8}}",
    )
    assert [arm.name for arm in planned.arms] == ["baseline", "slow", "small"]
    slow = next(cell for cell in planned.cells if cell.arm == "slow").resolved.settings
    assert (slow["losses.tvm.target_decay"], slow["optimizers.adamw.lr"]) == (0.9, 1e-4)
    assert slow["train.batch_size"] == 64


def test_cells_have_their_seed_their_records_and_an_identity_each(plan_of):
    planned = plan_of(DECAY, "grid.seeds = [3, 5]")
    assert [(c.arm, c.seed) for c in planned.cells[:2]] == [
        ("target_decay=0.0", 3),
        ("target_decay=0.0", 5),
    ]
    for cell in planned.cells:
        assert cell.resolved.settings["train.seed"] == cell.seed
        assert cell.resolved.settings["run.arm"] == cell.arm
        assert cell.resolved.settings["run.grid"] == "toy"
        assert cell.directory == f"{cell.arm}/seed={cell.seed}-{cell.identity[:8]}"
    assert len({cell.identity for cell in planned.cells}) == 6


def test_tuned_values_are_tried_for_every_arm(plan_of):
    planned = plan_of(DECAY, "grid.tune = {'optimizers.adamw.lr': [1e-3, 2e-3]}")
    assert len(planned.cells) == 6
    assert [dict(c.tuned) for c in planned.cells[:2]] == [
        {"optimizers.adamw.lr": "0.001"},
        {"optimizers.adamw.lr": "0.002"},
    ]


def test_a_setting_that_only_some_arms_use_is_no_mistake(plan_of):
    samplers = "grid.axes = {'losses.tvm.time_sampler': [@gap_star(), @gap()]}"
    planned = plan_of(samplers, "time_samplers.gap.gap_mean = -0.2")
    by_arm = {cell.arm: cell.resolved.settings for cell in planned.cells}
    assert by_arm["time_sampler=gap"]["time_samplers.gap.gap_mean"] == -0.2
    with pytest.raises(UserError, match=r"clamp\..*the run does not use time_samplers\.clamp"):
        plan_of(samplers, "time_samplers.clamp.t_mean = -0.2")


def test_the_command_line_may_choose_the_baseline(plan_of):
    assert plan_of(DECAY, "losses.tvm.target_decay = 0.9").baseline == "target_decay=0.9"


def test_a_seed_of_the_grid_may_be_named_for_single_runs(plan_of):
    assert len(plan_of(DECAY, "train.seed = 1", "grid.seeds = 2").cells) == 6


def test_an_arm_need_not_use_what_the_baseline_binds(plan_of):
    planned = plan_of(
        "grid.baseline = {'guidances.constant.weight': 3.0}",
        "grid.arms = {'none': {'losses.tvm.guidance': @guidances.none()}}",
    )
    assert [arm.name for arm in planned.arms] == ["baseline", "none"]


def test_a_macro_may_vary(plan_of):
    planned = plan_of(
        "decay = 0.5", "losses.tvm.target_decay = %decay", "grid.axes = {'decay': [0.5, 0.7]}"
    )
    found = [cell.resolved.settings["losses.tvm.target_decay"] for cell in planned.cells]
    assert found == [0.5, 0.7]


def test_resources_may_differ_by_arm(plan_of):
    planned = plan_of(
        "launch.partition = 'small'",
        "grid.arms = {'big': {'train.batch_size': 128, 'launch.partition': 'large'}}",
    )
    assert [cell.resources.partition for cell in planned.cells] == ["small", "large"]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["grid.axes = {'losses.tvm.target_decy': [0.0]}"],
         r"grid\.axes: .*no setting 'target_decy'; did you mean target_decay\?"),
        (["grid.axes = {'lossses.tvm.target_decay': [0.0]}"], r"grid\.axes: .*lossses\.tvm"),
        (["grid.axes = {'losses.tvm.target_decay': []}"], "has no values"),
        (["grid.axes = {'losses.tvm.target_decay': 0.9}"], "needs a list of values, not 0.9"),
        (["grid.axes = {'losses.tvm.target_decay': [0.9, 0.0, 0.9]}"], "has 0.9 twice"),
        (["grid.axes = {'train.seed': [0, 1]}"], "seeds belong into grid.seeds"),
        (["grid.axes = {'grid.seeds': [0, 1]}"], "a grid cannot vary grid.seeds"),
        (["grid.axes = {'losses.tvm.time_sampler': [@time_samplers.gapp()]}"], "did you mean gap"),
        (["grid.zips = {'z': {'train.batch_size': [1, 2], 'optimizers.adamw.lr': [1e-3]}}"],
         "need one length: train.batch_size has 2, optimizers.adamw.lr has 1"),
        ([DECAY, "grid.zips = {'z': {'losses.tvm.target_decay': [0.1, 0.2]}}"],
         "two axes or zips bind losses.tvm.target_decay"),
        ([DECAY, "grid.exclude = [{'losses.tvm.target_decay': 0.5}]"],
         "no arm has losses.tvm.target_decay = 0.5"),
        ([DECAY, "grid.exclude = [{'train.batch_size': 64}]"], "train.batch_size is no axis"),
        ([DECAY, "grid.arms = {'target_decay=0.9': {'train.batch_size': 8}}"],
         "two arms are called 'target_decay=0.9': one with .*0.9, one with train.batch_size = 8"),
        ([DECAY, "grid.arms = {'same': {'losses.tvm.target_decay': 0.9}}"],
         "'target_decay=0.9' and 'same' are the same configuration"),
        (["grid.arms = {'a/b': {'train.batch_size': 8}}"], "cannot be a folder's name"),
        (["grid.arms = {'baseline': {'train.batch_size': 8}}"], "baseline's own name"),
        (["grid.seeds = 0"], "grid.seeds = 0"),
        (["train.seed = 3", "grid.seeds = 3"], r"^--set: train\.seed = 3, .*grid\.seeds = \[3\]"),
        (["grid.seeds = [1, 1]"], "grid.seeds has 1 twice"),
        (["grid.seeds = []"], "grid.seeds is an empty list"),
        ([DECAY, "grid.equivalent = ['losses.tvm.decay']"], "no axis is called"),
        ([DECAY, "grid.tune = {'losses.tvm.target_decay': [0.1]}"], "what the arms differ in"),
        (["grid.arms = {'other': {'train.optimizer': @sgd}}",
          "grid.tune = {'optimizers.adamw.lr': [1e-3, 2e-3]}"],
         r"grid\.tune: 'other' does not use optimizers\.adamw\.lr: give that arm a grid"),
        ([DECAY, "grid.baseline = {'optimizers.adamw.lr': 1e-3}",
          "grid.tune = {'optimizers.adamw.lr': [2e-3, 4e-3]}"], "lr is bound by .*remove it there"),
        (["grid.axes = {'losses.tvm.target_decay': [0.0, 0.9], 'optimizers.adamw.lr': [1e-3]}",
          "grid.tune = {'optimizers.adamw.lr': [2e-3, 4e-3]}"], "lr is bound by .*remove it there"),
        (["grid.name = '../x'"], "cannot be a folder's name"),
        (["launch.time = 'soon'"], "is no time"),
        ([DECAY, "grid.baseline = {'losses.tvm.target_decay': 0.9}",
          "losses.tvm.target_decay = 0.5"],
         r"^--set: losses\.tvm\.target_decay: the grid binds it itself in every arm"),
        (["grid.arms = {'none': {'losses.tvm.guidance': @guidances.none(),"
          " 'guidances.constant.weight': 3.0}}"],
         r"^grid\.arms\['none'\]: .*weight: the run does not use guidances\.constant"),
        (["decay = 0.5", "losses.tvm.target_decay = %decay",
          "grid.arms = {'x': {'decay': 0.7, 'train.clip_norm': %decay}}"],
         r"^--set: grid\.arms uses a macro that the grid varies \(decay\)"),
        (["grid.axes = {'time_samplers.clamp.t_mean': [0.0, 1.0]}"],
         r"grid\.axes: .*does not use time_samplers\.clamp"),
    ],
)  # fmt: skip
def test_bad_grids_are_answered_in_one_line(plan_of, sets, words):
    with pytest.raises(UserError, match=words) as caught:
        plan_of(*sets)
    assert "\n" not in str(caught.value)
