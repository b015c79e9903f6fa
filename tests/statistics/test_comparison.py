import numpy as np
import pandas as pd
import pytest
from scipy import stats

from framework.statistics import (
    STATES,
    compare_grids,
    paired_differences,
    rank_arms,
    score_matrix,
    seeds_needed,
    summarise,
)


def scores_of(**arms):
    return pd.DataFrame(
        [
            (arm, seed, value)
            for arm, values in arms.items()
            for seed, value in enumerate(values)
            if not np.isnan(value)
        ],
        columns=["arm", "seed", "value"],
    )


def runs_of(scores, **states):
    rows = [(arm, seed, "done", np.nan, "") for arm, seed in zip(scores["arm"], scores["seed"])]
    rows += [(arm, *rest) for arm, lost in states.items() for rest in lost]
    return pd.DataFrame(rows, columns=["arm", "seed", "state", "diverged_step", "cause"])


def test_paired_difference_is_scipys_related_t_test():
    draw = np.random.default_rng(0)
    a, b, c = draw.normal(size=(3, 6))
    table = paired_differences(scores_of(a=a, b=b + 1, c=c), "a", "lower")
    reference = stats.ttest_rel(b + 1, a)
    bounds = reference.confidence_interval()
    np.testing.assert_allclose(table.loc["b", "p"], reference.pvalue)
    np.testing.assert_allclose([table.loc["b", "low"], table.loc["b", "high"]], bounds)
    assert table.loc["b", "pairs"] == 6
    assert list(table.index) == ["b", "c"]


def test_verdicts_follow_the_direction():
    draw = np.random.default_rng(1)
    a = draw.normal(size=6)
    scores = scores_of(a=a, b=a + 3 + 0.1 * draw.normal(size=6))
    assert paired_differences(scores, "a", "lower").loc["b", "verdict"] == "worse"
    assert paired_differences(scores, "a", "higher").loc["b", "verdict"] == "better"


def test_missing_seeds_are_paired_on_the_common_ones_and_named():
    nan = np.nan
    table = paired_differences(
        scores_of(a=[1, 2, nan, 4], b=[2, nan, 5, 5.5], c=[nan, nan, 1, nan]), "a", "lower"
    )
    assert table.loc["b", "pairs"] == 2
    assert table.loc["b", "difference"] == pytest.approx(1.25)
    assert table.loc["b", "unpaired"] == [1, 2]
    assert table.loc["c", "verdict"] == "no seed in common"
    assert np.isnan(table.loc["c", "p_holm"])


def test_words_where_nothing_can_be_told():
    table = paired_differences(
        scores_of(a=[1, 2, 3], one=[2, np.nan, np.nan], same=[1, 2, 3], near=[1.5, 1.9, 3.2]),
        "a",
        "lower",
    )
    assert table.loc["one", "verdict"] == "cannot tell: one seed"
    assert table.loc["same", "verdict"] == "identical"
    assert table.loc["near", "verdict"].startswith("cannot tell: about ")
    assert table.loc["near", "more_seeds"] >= 1


def test_bootstrap_stands_beside_from_eight_seeds_on():
    draw = np.random.default_rng(0)
    few = paired_differences(scores_of(a=draw.normal(size=7), b=draw.normal(size=7)), "a", "lower")
    many = paired_differences(scores_of(a=draw.normal(size=8), b=draw.normal(size=8)), "a", "lower")
    assert np.isnan(few.loc["b", "bootstrap_low"])
    assert many.loc["b", "bootstrap_low"] < many.loc["b", "difference"]


def test_unknown_baseline():
    with pytest.raises(ValueError, match="has no score"):
        paired_differences(scores_of(a=[1, 2]), "z", "lower")


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_seeds_needed_gives_the_power(effect):
    n = int(seeds_needed(effect))
    noncentral = effect * np.sqrt(n)
    power = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, noncentral)
    assert 0.72 <= power <= 0.92


def test_no_effect_needs_infinite_seeds():
    assert np.isinf(seeds_needed(0.0))


def test_summary_and_duplicates():
    scores = scores_of(b=[1, 2, 3], a=[5])
    table = summarise(scores)
    assert list(table.index) == ["b", "a"]
    assert table.loc["b", "sd"] == pytest.approx(1.0) and np.isnan(table.loc["a", "sd"])
    with pytest.raises(ValueError, match="two scores"):
        score_matrix(pd.concat([scores, scores]))


def test_divergences_are_counted_and_come_last():
    scores = scores_of(good=[3, 3.1], best=[1.0], gone=[])
    runs = runs_of(
        scores,
        best=[(1, "diverged", 120, "loss is not finite")],
        gone=[(0, "diverged", 7, "x"), (1, "diverged", np.nan, "")],
        waiting=[(0, "queued", np.nan, ""), (1, "failed", np.nan, "")],
    )
    table = rank_arms(scores, runs, "lower")
    assert list(table.index) == ["good", "best", "gone", "waiting"]
    assert table["rank"].tolist()[:3] == [1, 2, 3] and np.isnan(table["rank"].iloc[3])
    assert table.loc["best", "divergences"] == "seed 1 at step 120: loss is not finite"
    assert table.loc["gone", "divergences"] == "seed 0 at step 7: x; seed 1"
    assert table[list(STATES)].sum(axis=1).tolist() == table["runs"].tolist()


def test_equal_divergences_are_told_once():
    runs = runs_of(scores_of(a=[1, 2, 3])).assign(
        state="diverged", diverged_step=[7, 7, 9], cause="loss not finite at step 7"
    )
    table = rank_arms(scores_of(b=[1]), runs, "lower")
    told = "seeds 0, 1 at step 7: loss not finite; seed 2 at step 9: loss not finite at step 7"
    assert table.loc["a", "divergences"] == told


def test_the_same_difference_in_all_of_a_few_seeds_decides_nothing():
    table = paired_differences(scores_of(a=[1, 2], b=[1.5, 2.5]), "a", "lower")
    assert table.loc["b", "verdict"] == "cannot tell: the same difference in all 2 seeds"


def test_ranking_follows_the_direction():
    scores = scores_of(a=[1, 2], b=[3, 4])
    assert list(rank_arms(scores, runs_of(scores), "lower").index) == ["a", "b"]
    assert list(rank_arms(scores, runs_of(scores), "higher").index) == ["b", "a"]


def test_two_grids_are_compared_arm_by_arm():
    before = scores_of(a=[1, 2, 3], b=[1, 2, 3.1], old=[1, 1, 1])
    after = scores_of(a=[1, 2, 3], b=[0, 1.1, 2], new=[1, 1, 1])
    table = compare_grids(before, after, "lower")
    assert table["verdict"].tolist() == ["identical", "better", "only after", "only before"]
    reference = stats.ttest_rel([0, 1.1, 2], [1, 2, 3.1])
    assert table.loc["b", "p"] == pytest.approx(reference.pvalue)
    assert table.loc["new", "pairs"] == 0
