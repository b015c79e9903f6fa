import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from framework import UserError
from framework.report import analyse
from framework.report.budget_rows import budget_table
from framework.report.figures import draw_nfe
from framework.report.headline import headline
from framework.report.rows import ranked_rows
from framework.report.writing import csv_table
from framework.statistics import paired_differences

from .synthetic import TARGETS, Truth, build, four_arms, many_arms


def test_the_best_arm_leads_and_the_diverged_one_comes_last():
    analysis = analyse(four_arms())
    assert list(analysis.ranking.index) == ["decay=0.999", "decay=0.99", "decay=0.9", "decay=0"]
    rows = {row.arm: row for row in ranked_rows(analysis)}
    assert rows["decay=0.999"].kind == "better"
    assert rows["decay=0.99"].kind == "baseline"
    assert rows["decay=0.9"].verdict.startswith("cannot tell")
    lost = rows["decay=0"]
    assert lost.runs == "4/5, 1 diverged"
    assert "seed 1 at step 120: loss is not finite" in lost.remarks[0]
    assert "not paired with the baseline: seed 1" in lost.remarks


def test_headline_answers_which_by_how_much_how_sure():
    found = headline(analyse(four_arms()))
    assert found.leader == "decay=0.999"
    assert "lower than the baseline decay=0.99" in found.claim
    assert "corrected p = 0.0" in found.claim and found.claim.endswith("better.")
    assert found.lost == "Of 20 runs: 1 diverged."


def test_runner_up_is_named_when_the_lead_may_be_chance():
    grid = build(Truth(effects={"base": 3.0, "one": 0.0, "two": 0.02}))
    assert "not a clear lead" in headline(analyse(grid)).runner_up


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_the_interval_of_a_lead_holds_the_lead(direction):
    better = -1.0 if direction == "lower" else 1.0
    effects = {"base": 0.0, "one": 9.0 * better, "two": 8.0 * better}
    grid = build(Truth(effects=effects, seeds=6, seed_noise=0.05))
    grid.frame["direction"] = direction
    found = headline(analyse(grid))
    assert found.leader == "one"
    words = found.runner_up
    size, low, high = map(float, re.findall(r"by (.+) \(95 % interval (.+) to (.+), p", words)[0])
    assert low < size < high


def test_a_lead_is_clear_where_it_outlasts_the_correction_over_all_other_arms():
    effects = {"base": 9.0, "one": 0.0, "two": 0.8}
    quiet = Truth(effects=effects, seeds=6, seed_noise=0.05)
    assert headline(analyse(build(quiet))).runner_up.endswith(": a clear lead.")
    rivals = {f"rival{k}": 0.6 + 0.01 * k for k in range(12)}
    noisy = Truth(effects={"base": 9.0, "one": 0.0, **rivals}, seeds=6, seed_noise=0.7)
    analysis = analyse(build(noisy))
    words = headline(analysis).runner_up
    leader, second = analysis.ranking.index[:2]
    pairs = paired_differences(analysis.scores.final, leader, "lower").loc[second]
    assert pairs["p"] < 0.05 < pairs["p_holm"]
    assert words.endswith(": not a clear lead.")
    assert f"p corrected over all others = {pairs['p_holm']:.3f}" in words


def test_a_lead_that_rests_on_other_seeds_is_not_called_one():
    states = {("two", seed): "running" for seed in (0, 1, 2, 3)}
    truth = Truth(effects={"base": 9.0, "one": 0.0, "two": 0.4}, seeds=5, states=states)
    grid = build(truth)
    shifted = grid.frame["seed"].isin([4]) & (grid.frame["kind"] == "evaluation")
    grid.frame.loc[shifted, "value"] -= 50.0
    analysis = analyse(grid)
    found = headline(analysis)
    assert found.leader == "two"
    assert "On the seeds that both have, behind one" in found.runner_up
    assert "not a clear lead" in found.runner_up
    assert any("not over the same ones" in note for note in analysis.notes)


def test_arms_with_as_many_scores_of_different_seeds_are_said_to_have_them():
    states = {("a", 0): "failed", ("b", 1): "failed", ("c", 2): "failed"}
    analysis = analyse(build(Truth(effects={"a": 0.0, "b": 1.0, "c": 2.0}, states=states)))
    assert analysis.ranking["n"].tolist() == [2, 2, 2]
    assert any("not over the same ones" in note for note in analysis.notes)


def test_arms_without_a_seed_in_common_are_not_said_to_differ_by_anything():
    states = {("one", 0): "failed", ("one", 1): "failed", ("two", 2): "failed"}
    truth = Truth(effects={"base": 9.0, "one": 1.5, "two": 0.0}, states=states)
    found = headline(analyse(build(truth)))
    assert found.leader == "two"
    assert found.runner_up == "It has no seed in common with one: not a clear lead."
    against = headline(analyse(build(truth, baseline="one")))
    assert against.claim == "It has no seed in common with the baseline one."


def test_every_run_diverged():
    truth = Truth(effects={"a": 0.0, "b": 1.0}, diverged={("b", s): 50 for s in range(3)})
    analysis = analyse(build(truth))
    assert list(analysis.ranking.index) == ["a", "b"]
    assert analysis.ranking.loc["b", "rank"] == 2
    nothing = Truth(effects={"a": 0.0}, diverged={("a", s): 50 for s in range(3)})
    found = headline(analyse(build(nothing)))
    assert not found.leader and "without divergence" in found.claim


def test_a_leading_baseline_counts_rivals_that_lost_and_those_without_a_score():
    lost = {("lost", seed): 50 for seed in range(3)}
    alone = headline(analyse(build(Truth(effects={"a": 0.0, "lost": 1.0}, diverged=lost))))
    assert alone.claim == "It is the baseline; diverged in every seed: 1 of 1."
    effects = {"a": 0.0, "worse": 9.0, "same": 0.5, "lost": 1.0, "late": 1.0}
    late = {("late", seed): "queued" for seed in range(3)}
    truth = Truth(effects=effects, diverged=lost, states=late)
    assert headline(analyse(build(truth))).claim == (
        "It is the baseline; surely worse than it: 1 of 4; diverged in every seed: 1 of 4; "
        "no score yet: 1 of 4."
    )


def test_a_baseline_without_a_name_of_its_own_is_named_once():
    analysis = analyse(build(Truth(effects={"baseline": 3.0, "one": 0.0})))
    assert "lower than the baseline (" in headline(analysis).claim


def test_equal_time_ranks_otherwise_than_equal_steps():
    truth = Truth(effects={"slow": -0.5, "fast": 0.5}, seeds=6, speed={"slow": 0.2, "fast": 0.05})
    budgets = {b.cost: b.table for b in analyse(build(truth)).budgets}
    assert list(budgets["step"].index) == ["slow", "fast"]
    assert list(budgets["time"].index) == ["fast", "slow"]
    assert "flops" not in budgets


def test_an_arm_that_was_not_evaluated_around_a_budget_has_no_place_there():
    speed = {"fast": 0.05, "slow": 0.2}
    truth = Truth(effects={"fast": 0.5, "slow": 0.0}, evaluations=1, speed=speed)
    grid = build(truth)
    late = (grid.runs["arm"] == "fast") & (grid.runs["seed"] == 2)
    grid.runs.loc[late, "seconds"] += 1.0
    cells = {arm: found[1] for arm, found in budget_table(analyse(grid)).rows}
    assert cells["fast"][0] == "1." and cells["fast"][1].endswith(" (2 of 3 runs)")
    assert cells["slow"] == ("\N{EN DASH}", "\N{EN DASH}")


def test_equal_flops_where_the_cost_is_known():
    grid = build(Truth(effects={"a": 0.0, "b": 1.0}, flops_per_step=2e9))
    budget = {b.cost: b for b in analyse(grid).budgets}["flops"]
    assert budget.budget == pytest.approx(2e9 * 200)


def test_seconds_are_those_of_training():
    grid = four_arms()
    grid.frame["time"] = 1e6
    assert analyse(grid).ranking.loc["decay=0.99", "seconds"] == pytest.approx(10.0)


def test_tuned_arms_are_compared_at_their_best():
    grid = build(Truth(effects={"a": 0.0, "b": 1.0}, variants=("1e-3", "2e-3", "4e-3")))
    analysis = analyse(grid)
    assert analysis.tuning["variant"].tolist() == ["2e-3", "2e-3"]
    assert analysis.ranking["runs"].tolist() == [3, 3]
    assert any("best of up to 3 tuned" in note for note in analysis.notes)
    assert ranked_rows(analysis)[0].remarks[0].startswith("best of 3 tuned: 2e-3 (search")


def test_product_grid_has_effects():
    factorial = analyse(many_arms(12)).factorial
    assert set(factorial.main["factor"]) == {
        "time_samplers.gap.gap_mean", "models.dit.normalization",
    }  # fmt: skip
    assert factorial.shares["models.dit.normalization"] > 0.5
    assert analyse(four_arms()).factorial is None


def test_arms_beside_a_product_do_not_enter_its_effects():
    grid = many_arms(12)
    alone = analyse(grid).factorial
    beside = tuple(
        replace(arm, settings={"train.steps": "9"}) if k == 11 else arm
        for k, arm in enumerate(grid.arms)
    )
    part = analyse(replace(grid, arms=beside)).factorial
    assert (alone.cells, part.cells, part.missing) == (12, 11, 0)


def test_noise_is_split():
    truth = Truth(
        effects={"a": 0.0}, seeds=3_000, shared_noise=0.0, seed_noise=0.5, block_noise=0.8,
        evaluations=1, nfes=(1,), scalar_points=0,
    )  # fmt: skip
    row = analyse(build(truth)).ranking.loc["a"]
    assert row["evaluation_sd"] == pytest.approx(0.4, rel=0.03)
    assert row["seed_sd"] == pytest.approx(0.5, rel=0.05)


def test_without_a_baseline_the_first_arm_stands_in():
    analysis = analyse(replace(four_arms(), baseline=None))
    assert analysis.baseline == "decay=0.99"
    assert any("stands in" in note for note in analysis.notes)


def test_a_baseline_without_a_score_is_said():
    grid = build(Truth(effects=TARGETS, states={("decay=0.99", s): "failed" for s in range(3)}))
    analysis = analyse(grid)
    assert analysis.baseline is None and "difference" not in analysis.ranking
    assert any("No score for the baseline" in note for note in analysis.notes)


def test_unknown_names_answer_with_what_there_is():
    with pytest.raises(UserError, match="choose one of: fd"):
        analyse(four_arms(), metric="fid")
    with pytest.raises(UserError, match="choose one of: 1, 2, 4"):
        analyse(four_arms(), nfe=3)
    with pytest.raises(UserError, match=r"did you mean decay=0\.9"):
        analyse(replace(four_arms(), baseline="decay=0.998"))


def test_a_metric_is_found_with_and_without_its_hash():
    by_plain, by_full = analyse(four_arms(), "fd"), analyse(four_arms(), "fd@digits-1a2b3c4d")
    pd.testing.assert_frame_equal(by_plain.ranking, by_full.ranking)
    assert by_full.selection.metric == "fd"


def test_another_metric_of_different_features_is_said_to_be_so():
    grid = four_arms()
    rows = grid.frame[grid.frame["kind"] == "evaluation"]
    other = rows.assign(metric=np.where(rows["arm"] == "decay=0", "kid@aaa", "kid@bbb"))
    both = pd.concat([grid.frame.astype({"metric": object}), other], ignore_index=True)
    notes = analyse(replace(grid, frame=both)).notes
    assert any(note.startswith("Logged as kid@aaa, kid@bbb: values of diff") for note in notes)


def test_training_scalars_can_be_ranked():
    analysis = analyse(four_arms(), metric="loss/total")
    assert analysis.selection.nfe is None
    assert any("lower is taken as better" in note for note in analysis.notes)


def test_guidance_weights_are_held_fixed_or_each_arms_own():
    grid = four_arms()
    more = grid.frame[grid.frame["kind"] == "evaluation"].assign(w=2.5)
    more["value"] += 100
    both = replace(grid, frame=pd.concat([grid.frame, more]))
    plain = analyse(grid)
    analysis = analyse(both)
    np.testing.assert_allclose(analysis.ranking["mean"], plain.ranking["mean"])
    assert any("also logged: 2.5" in note for note in analysis.notes)
    frame = grid.frame.copy()
    frame.loc[frame["arm"] == "decay=0", "w"] = 3.0
    own = analyse(replace(grid, frame=frame))
    np.testing.assert_allclose(own.ranking["mean"], plain.ranking["mean"])


def test_one_guidance_weight_of_several_can_be_asked_for():
    grid = four_arms()
    arms = grid.arm_names
    more = grid.frame[grid.frame["kind"] == "evaluation"].assign(w=2.5)
    more = more[more["arm"] != grid.baseline]
    more["value"] += 100
    both = replace(grid, frame=pd.concat([grid.frame, more]))
    analysis = analyse(both, w=2.5)
    others = [arm for arm in arms if arm != grid.baseline]
    plain = analyse(grid).ranking["mean"]
    np.testing.assert_allclose(analysis.ranking.loc[others, "mean"], plain[others] + 100)
    assert analysis.baseline == others[0]
    assert any(f"{others[0]} stands in" in note for note in analysis.notes)
    assert analysis.selection.title.endswith("and w = 2.5")
    assert set(csv_table(analysis)["w"]) == {"2.5"}
    assert set(csv_table(analyse(both))["w"]) == {"1.5"}
    with pytest.raises(UserError, match=r"not evaluated at w = 3 \(--w\); choose one of: .*2\.5"):
        analyse(both, w=3.0)


def test_an_arm_whose_sampler_chose_its_evaluations_is_ranked_with_the_others():
    grid = four_arms()
    frame = grid.frame.copy()
    chosen = (frame["arm"] == "decay=0") & (frame["kind"] == "evaluation")
    frame = frame[~chosen | (frame["nfe"] == 1)]
    frame.loc[chosen & (frame["nfe"] == 1), "nfe"] = float("nan")
    analysis = analyse(replace(grid, frame=frame))
    np.testing.assert_allclose(
        analysis.ranking["mean"], analyse(grid).ranking.loc[analysis.ranking.index, "mean"]
    )
    assert draw_nfe(analysis) is not None


def test_running_grids_rank_what_is_done_and_count_the_rest():
    states = {("a", 2): "running", ("b", 1): "queued", ("b", 2): "failed"}
    analysis = analyse(build(Truth(effects={"a": 0.0, "b": 1.0}, states=states)))
    assert analysis.ranking["n"].tolist() == [2, 1]
    assert headline(analysis).lost == "Of 6 runs: 1 failed, 1 running, 1 queued."


def test_before_any_run_is_done_running_ones_are_compared_and_it_is_said():
    states = {(arm, seed): "running" for arm in "ab" for seed in range(3)}
    analysis = analyse(build(Truth(effects={"a": 0.0, "b": 1.0}, states=states)))
    assert analysis.ranking["n"].tolist() == [3, 3]
    assert any("No run has finished" in note for note in analysis.notes)


def test_runs_of_one_arm_are_read_at_one_step_where_steps_are_varied():
    settings = {arm: {"train.steps": steps} for arm, steps in (("a", "100"), ("b", "200"))}
    grid = build(Truth(effects={"a": 0.0, "b": 0.0}, settings=settings))
    rows = grid.frame
    cut = (rows["arm"] == "b") & (rows["seed"] == 1) & (rows["step"] > 160)
    analysis = analyse(replace(grid, frame=rows[~cut]))
    steps = analysis.scores.final.groupby("arm")["step"].unique()
    assert steps["a"].tolist() == [200] and steps["b"].tolist() == [160]
    assert "Runs of b are of different lengths: read at step 160." in analysis.notes


def test_a_run_that_was_first_evaluated_later_is_not_called_lost():
    grid = build(Truth(effects={"short": 0.0, "long": -3.0, "early": 1.0}))
    arm, step = grid.frame["arm"], grid.frame["step"]
    kept = (arm == "short") & (step <= 120) | (arm == "long") & (step == 200)
    kept |= (arm == "early") & (step != 120)
    analysis = analyse(replace(grid, frame=grid.frame[kept]))
    assert any("interpolated at step 120" in note for note in analysis.notes)
    assert analysis.ranking["broken"].sum() == 0
    told = {row.arm: row.runs for row in ranked_rows(analysis)}
    assert told == {"short": "3/3", "early": "3/3", "long": "3/3, 3 without a score"}


def test_failed_runs_are_not_called_running_ones():
    grid = build(Truth(effects={"a": 0.0, "b": 1.0}))
    grid.runs["state"] = "failed"
    told = "No run has finished: these are failed, and their scores may change."
    assert told in analyse(grid).notes


def test_runs_of_different_lengths_are_compared_at_a_common_step():
    grid = four_arms()
    cut = (grid.frame["arm"] == "decay=0.9") & (grid.frame["step"] > 160)
    shorter = replace(grid, frame=grid.frame[~cut])
    analysis = analyse(shorter)
    assert any("compared at step 160" in note for note in analysis.notes)
    assert set(analysis.scores.final["step"]) == {160}


@pytest.mark.parametrize(
    ("seeds", "effect", "noise", "verdict"),
    [
        (5, 0.0, 0.01, "agrees"),
        (5, 0.0, 2.0, "cannot tell: the interval exceeds 5 % of the baseline"),
        (1, 9.5, 0.01, "cannot tell: one seed"),
        (5, 0.3, 0.01, "differs but should agree"),
    ],
)
def test_arms_agree_on_evidence_only(seeds, effect, noise, verdict):
    settings = {"plain": {"train.compile": "False"}, "compiled": {"train.compile": "True"}}
    truth = Truth(
        effects={"plain": 0.0, "compiled": effect}, settings=settings, seeds=seeds,
        seed_noise=noise, block_noise=0.0,
    )  # fmt: skip
    analysis = analyse(replace(build(truth), equivalent=("train.compile",)))
    assert analysis.ranking.loc["compiled", "verdict"] == verdict
    assert any("within 5 % of the baseline's mean" in note for note in analysis.notes)


@pytest.mark.parametrize("lost", [2, 5])
def test_an_arm_that_diverged_where_the_baseline_did_not_does_not_agree(lost):
    settings = {"plain": {"train.compile": "False"}, "compiled": {"train.compile": "True"}}
    truth = Truth(
        effects={"plain": 0.0, "compiled": 0.0}, settings=settings, seeds=5, seed_noise=0.01,
        block_noise=0.0, diverged={("compiled", seed): 50 for seed in range(lost)},
    )  # fmt: skip
    analysis = analyse(replace(build(truth), equivalent=("train.compile",)))
    assert analysis.ranking.loc["compiled", "verdict"] == "differs but should agree"


@pytest.mark.parametrize(("loser", "plain"), [("lead", "better"), ("base", "worse")])
def test_an_arm_that_lost_more_runs_is_not_simply_better(loser, plain):
    effect = -5.0 if loser == "lead" else 5.0
    effects = {"base": 0.0, "lead": effect}
    lost = {(loser, seed): 50 for seed in (0, 1, 2)}
    whole = analyse(build(Truth(effects=effects, seeds=6))).ranking["verdict"]
    part = analyse(build(Truth(effects=effects, seeds=6, diverged=lost)))
    assert whole["lead"] == plain
    assert part.ranking.loc["lead", "verdict"] == f"{plain}, but of surviving runs only"
    assert {row.kind for row in ranked_rows(part)} == {"baseline", "open"}
    both = {(arm, seed): 50 for arm in effects for seed in (0, 1, 2)}
    equal = analyse(build(Truth(effects=effects, seeds=6, diverged=both)))
    assert equal.ranking.loc["lead", "verdict"] == plain


def test_another_grid_is_compared_arm_by_arm():
    analysis = analyse(four_arms(), against=four_arms(level=12.0))
    assert analysis.against["pairs"].tolist() == [5, 5, 5, 4]
    np.testing.assert_allclose(analysis.against["difference"], -2.0)
    assert list(analysis.against.index) == list(analysis.ranking.index)


def test_two_grids_that_were_read_otherwise_are_said_to_be_so():
    other = four_arms(steps=400)
    rows = other.frame
    measured = rows["kind"] == "evaluation"
    rows.loc[measured, "w"] = 2.0
    rows["metric"] = rows["metric"].cat.rename_categories({"fd@digits-1a2b3c4d": "fd@digits-ffff"})
    before = replace(other, name="before", warnings=("A run is damaged.",))
    notes = analyse(four_arms(), against=before).notes
    assert notes[-1] == (
        "before was read otherwise than synthetic: metric fd@digits-ffff against "
        "fd@digits-1a2b3c4d; w 2 against 1.5; step 400 against 200."
    )
    assert "before: A run is damaged." in notes
    alike = replace(four_arms(), name="before")
    assert not any("before" in note for note in analyse(four_arms(), against=alike).notes)


def test_a_comparison_with_a_tuned_grid_says_that_it_is_flattered():
    effects = {"a": 0.0, "b": 1.0}
    tuned = replace(build(Truth(effects=effects, variants=("1", "2"))), name="before")
    notes = analyse(build(Truth(effects=effects)), against=tuned).notes
    assert notes[-1].startswith("before: Arms are compared at the best of up to 2 tuned settings")


def test_a_comparison_of_two_grids_leaves_no_arm_out():
    lost = {("decay=0", seed): 50 for seed in range(5)}
    before = four_arms(diverged={**lost, ("decay=0.9", 0): 50})
    table = analyse(four_arms(diverged=lost), against=before).against
    assert (
        table.loc["decay=0", "verdict"] == "no score in either; 5 diverged before; 5 diverged after"
    )
    assert table.loc["decay=0.9", "verdict"].endswith("; 1 diverged before")
    assert table.index[-1] == "decay=0"
