"""Evaluations that are no number are counted, named and ranked last, never averaged away."""

from dataclasses import replace

import numpy as np
import pytest

from framework.grid.claims import Claim
from framework.report import analyse
from framework.report.claims import outcomes
from framework.report.headline import headline
from framework.report.metric_rows import metric_table
from framework.report.rows import ranked_rows

from .synthetic import Truth, build
from .test_claims import with_metric

LEADER = Truth(effects={"base": 0.0, "lead": -3.0, "other": 1.0}, seeds=5)


def spoil(grid, arm, seeds=(1,), block=2.0, value=float("nan"), step=200):
    """Give one block of some runs of an arm another value, at a step and 1 NFE."""
    rows = grid.frame
    at = (rows["kind"] == "evaluation") & (rows["arm"] == arm) & rows["seed"].isin(seeds)
    at &= (rows["block"] == block) & (rows["step"] == step) & (rows["nfe"] == 1)
    assert at.sum() == len(seeds)
    rows.loc[at, "value"] = value
    return grid


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_block_that_is_no_number_costs_the_run_its_score_and_the_arm_its_place(value):
    assert analyse(build(LEADER)).ranking.index[0] == "lead"
    analysis = analyse(spoil(build(LEADER), "lead", value=value))
    assert list(analysis.ranking.index) == ["base", "other", "lead"]
    assert analysis.ranking.loc["lead", ["n", "broken", "done"]].tolist() == [4, 1, 5]
    row = ranked_rows(analysis)[-1]
    assert row.runs == "5/5, 1 without a number"
    assert row.remarks == ["mean of the surviving runs", "not paired with the baseline: seed 1"]
    assert any(note.startswith("No number for a score: lead seed 1.") for note in analysis.notes)
    found = headline(analysis)
    assert found.leader == "base" and found.lost == "Of 15 runs: 1 without a number for a score."
    cells = dict(metric_table(analysis).rows)["lead"]
    assert [cell.endswith("(1 without a number)") for cell in cells] == [True, False, False]


def test_a_mean_of_another_metric_says_which_runs_it_is_not_of():
    grid = build(LEADER)
    rows = grid.frame
    lost = (rows["nfe"] == 4) & (rows["arm"] == "lead") & (rows["seed"] > 1)
    table = metric_table(analyse(replace(grid, frame=rows[~lost])))
    cells = dict(table.rows)["lead"]
    assert [cell.endswith(" (2 of 5 runs)") for cell in cells] == [False, False, True]
    assert not any("runs" in cell for cell in dict(table.rows)["base"])


def test_a_finished_run_that_was_not_evaluated_is_counted():
    grid = build(LEADER)
    rows = grid.frame
    lost = (rows["kind"] == "evaluation") & (rows["seed"] == 1) & (rows["arm"] != "lead")
    analysis = analyse(replace(grid, frame=rows[~lost]))
    told = {row.arm: row.runs for row in ranked_rows(analysis)}
    assert told == {"lead": "5/5", "base": "5/5, 1 without a score", "other": told["base"]}


def test_the_last_evaluation_counts_and_not_the_last_number():
    spoiled = spoil(build(LEADER), "other", seeds=(0, 1, 2, 3, 4))
    analysis = analyse(spoiled)
    assert set(analysis.scores.final["step"]) == {200}
    assert analysis.ranking.loc["other", ["n", "broken"]].tolist() == [0, 5]
    assert analysis.ranking.loc["other", "rank"] == 3
    assert all(budget.table.loc["other", "n"] == 0 for budget in analysis.budgets)


def test_a_baseline_of_which_nothing_is_a_number_cannot_be_compared_with():
    analysis = analyse(spoil(build(LEADER), "base", seeds=(0, 1, 2, 3, 4)))
    assert analysis.baseline is None
    assert any("No score for the baseline" in note for note in analysis.notes)


def test_a_tuned_setting_that_lost_a_run_is_not_the_best():
    grid = build(Truth(effects={"a": 0.0, "b": 1.0}, variants=("1e-3", "2e-3", "4e-3")))
    rows = grid.frame
    best = (rows["arm"] == "a") & (rows["variant"] == "2e-3") & (rows["seed"] == 0)
    rows.loc[best & (rows["kind"] == "evaluation"), "value"] = np.nan
    tuning = analyse(grid).tuning["variant"]
    assert tuning["a"] != "2e-3" and tuning["b"] == "2e-3"


def test_a_claim_of_which_runs_failed_says_how_many_pairs_it_rests_on():
    states = {("lead", seed): "failed" for seed in (0, 1)}
    truth = replace(LEADER, states=states)
    claims = [Claim("lead", "better", "base"), Claim("other", "worse", "base")]
    notes = [found.note for found in outcomes(build(truth), claims)]
    assert notes == ["paired in 3 of 5 seeds", ""]


def test_claims_count_runs_without_a_number_as_lost():
    claim = Claim("lead", "better", "base")
    grid = spoil(build(LEADER), "lead", seeds=(0, 1, 2, 3, 4))
    (found,) = outcomes(grid, [claim])
    assert found.verdict == "opposite direction" and found.pairs == 0
    assert found.note == "diverged or without a number: 5 of 5 against 0 of 5"


@pytest.mark.parametrize(("factor", "verdict"), [(1.5, "cannot tell"), (0.9, "opposite direction")])
def test_a_bound_is_not_said_to_hold_where_there_is_no_number(factor, verdict):
    grid = with_metric(build(Truth(effects={"base": 0.0}, blocks=1)), "bound", factor)
    rows = grid.frame
    at = (rows["metric"] == "bound") & (rows["seed"] == 1) & (rows["step"] == 40)
    rows.loc[at, "value"] = np.nan
    (found,) = outcomes(grid, [Claim("", "below", "bound", metric="fd", nfe=1)])
    assert found.verdict == verdict
    assert f"holds at {14 if factor > 1 else 0} of 15 evaluations" in found.note
    assert found.note.endswith("without a number: 1")


def test_a_bound_says_how_often_it_was_not_measured_beside_its_metric():
    grid = with_metric(build(Truth(effects={"base": 0.0}, blocks=1)), "bound", 1.5)
    rows = grid.frame
    grid = replace(grid, frame=rows[(rows["metric"] != "bound") | (rows["seed"] == 0)])
    (found,) = outcomes(grid, [Claim("", "below", "bound", metric="fd", nfe=1)])
    assert "holds at 5 of 5 evaluations" in found.note
    assert found.note.endswith("of one of both only: 10")
