from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from framework.statistics import at_budget, best_variants, factorial_effects, noise_components


def test_noise_components_find_both_sources():
    draw = np.random.default_rng(0)
    seeds, blocks = 4_000, 4
    seed_effects = 0.5 * draw.normal(size=seeds)
    rows = [
        ("a", s, b, 10 + seed_effects[s] + 0.8 * e)
        for (s, b), e in zip(product(range(seeds), range(blocks)), draw.normal(size=seeds * blocks))
    ]
    table = noise_components(pd.DataFrame(rows, columns=["arm", "seed", "block", "value"]))
    assert table.loc["a", "block_sd"] == pytest.approx(0.8, rel=0.03)
    assert table.loc["a", "evaluation_sd"] == pytest.approx(0.4, rel=0.03)
    assert table.loc["a", "seed_sd"] == pytest.approx(0.5, rel=0.05)


def test_noise_with_one_block_or_one_run():
    frame = pd.DataFrame(
        [("one block", s, 0, float(s)) for s in range(3)]
        + [("one run", 0, b, float(b)) for b in range(3)],
        columns=["arm", "seed", "block", "value"],
    )
    table = noise_components(frame)
    assert np.isnan(table.loc["one block", "evaluation_sd"])
    assert table.loc["one block", "seed_sd"] == pytest.approx(1.0)
    assert np.isnan(table.loc["one run", "seed_sd"])
    assert table.loc["one run", "block_sd"] == pytest.approx(1.0)


def test_a_run_without_any_number_does_not_make_the_noise_infinite():
    rows = [("a", s, b, s + 0.1 * b) for s, b in product(range(4), range(3))]
    known = pd.DataFrame(rows, columns=["arm", "seed", "block", "value"])
    lost = pd.DataFrame([("a", 4, b, np.nan) for b in range(3)], columns=known.columns)
    table = noise_components(pd.concat([known, lost]))
    pd.testing.assert_frame_equal(table, noise_components(known))


def curves():
    rows = []
    for arm, speed in (("fast", 1.0), ("slow", 2.0)):
        for seed in range(2):
            rows += [(arm, seed, s, s * speed, 100.0 - s + seed) for s in (10, 20, 30, 40)]
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "time", "value"])


def test_equal_steps_and_equal_time():
    steps = at_budget(curves(), "step")
    assert steps.budget == 40
    assert steps.scores["value"].tolist() == [60, 61, 60, 61]
    time = at_budget(curves(), "time")
    assert time.budget == 40
    assert time.scores["value"].tolist() == [60, 61, 80, 81]
    between = at_budget(curves(), "time", 25.0)
    assert between.scores["value"].tolist() == pytest.approx([75, 76, 87.5, 88.5])


def test_a_budget_outside_of_what_was_evaluated_has_no_score():
    assert at_budget(curves(), "time", 15.0).scores["value"].isna().tolist() == [
        False, False, True, True,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="must be positive"):
        at_budget(curves(), "time", 0.0)
    assert np.isnan(at_budget(curves().assign(flops=np.nan), "flops").budget)


def product_grid(seeds=4, noise=0.1):
    draw = np.random.default_rng(0)
    cells = list(product("xyz", "pq"))
    settings = pd.DataFrame(cells, columns=["first", "second"], index=["".join(c) for c in cells])
    main = {"x": -1.0, "y": 0.0, "z": 1.0, "p": 0.5, "q": -0.5}
    truth = np.array([10 + main[a] + main[b] + 0.6 * (a + b == "zp") for a, b in cells])
    blocks = draw.normal(size=seeds)
    values = truth[:, None] + blocks + noise * draw.normal(size=(len(cells), seeds))
    return pd.DataFrame(values, index=settings.index), settings, truth


def test_main_effects_are_differences_of_marginal_means():
    matrix, settings, _ = product_grid()
    found = factorial_effects(matrix, settings)
    grand = matrix.to_numpy().mean()
    for row in found.main.to_dict("records"):
        inside = (settings[row["factor"]] == row["level"]).to_numpy()
        assert row["mean"] - grand == pytest.approx(row["effect"])
        assert row["mean"] == pytest.approx(matrix[inside].to_numpy().mean())
    by_seed = [matrix[(settings["second"] == level).to_numpy()].mean().to_numpy() for level in "pq"]
    reference = stats.ttest_rel(*by_seed).pvalue
    second = found.main[found.main["factor"] == "second"]
    np.testing.assert_allclose(second["p"], reference)


def test_interactions_are_what_the_main_effects_leave():
    matrix, settings, truth = product_grid(noise=0.0)
    found = factorial_effects(matrix, settings)
    table = truth.reshape(3, 2)
    expected = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    np.testing.assert_allclose(found.interactions["effect"], expected.ravel(), atol=1e-12)
    assert found.shares.sum() == pytest.approx(1.0)
    assert found.shares["first"] > found.shares["first x second"] > 0


def test_missing_cells_leave_main_effects_unbiased():
    matrix, settings, _ = product_grid(noise=0.0)
    additive, _ = matrix.copy(), None
    additive.loc["zp"] -= 0.6
    whole = factorial_effects(additive, settings)
    additive.loc["xq", 1] = np.nan
    part = factorial_effects(additive, settings)
    assert (part.cells, part.missing) == (5, 1)
    np.testing.assert_allclose(part.main["effect"], whole.main["effect"], atol=1e-12)
    assert part.interactions["effect"].isna().all()


def test_effects_of_a_null_grid_cover_zero():
    draw = np.random.default_rng(5)
    settings = pd.DataFrame(list(product("ab", "cd")), index=list("wxyz"), columns=["f", "g"])
    inside = []
    for _ in range(300):
        matrix = pd.DataFrame(draw.normal(size=(4, 5)), index=settings.index)
        row = factorial_effects(matrix, settings).main.iloc[0]
        inside.append(row["low"] <= 0 <= row["high"])
    assert 0.91 <= np.mean(inside) <= 0.985


def test_best_variant_counts_the_search():
    rows = [
        ("a", "lr=1", 0, "done", 3.0, 10.0),
        ("a", "lr=2", 0, "done", 2.0, 12.0),
        ("a", "lr=3", 0, "diverged", np.nan, 4.0),
        ("b", "lr=1", 0, "done", 5.0, 10.0),
        ("b", "lr=1", 1, "done", 5.0, 10.0),
        ("b", "lr=2", 0, "done", 1.0, 10.0),
        ("b", "lr=2", 1, "diverged", np.nan, 3.0),
    ]
    runs = pd.DataFrame(rows, columns=["arm", "variant", "seed", "state", "value", "seconds"])
    table = best_variants(runs, "lower")
    assert table["variant"].tolist() == ["lr=2", "lr=1"]
    assert table["tried"].tolist() == [3, 2]
    assert table["search_seconds"].tolist() == [26.0, 33.0]
    assert table["chosen_seconds"].tolist() == [12.0, 20.0]
    assert best_variants(runs, "higher").loc["a", "variant"] == "lr=1"


def test_a_variant_with_scores_of_fewer_seeds_is_not_the_best():
    rows = [("lr=1", 0, "done", 5.2), ("lr=1", 1, "failed", np.nan), ("lr=1", 2, "running", np.nan)]
    rows += [("lr=2", seed, "done", value) for seed, value in enumerate([5.0, 9.0, 9.0])]
    runs = pd.DataFrame(rows, columns=["variant", "seed", "state", "value"])
    table = best_variants(runs.assign(arm="a", seconds=1.0), "lower")
    assert table["variant"].tolist() == ["lr=2"]


def test_effects_that_are_the_same_in_all_seeds_are_not_made_certain_by_rounding():
    cells = list(product(range(4), range(3)))
    names = [f"{a}{b}" for a, b in cells]
    scores = [[(500 + 31 * a * a + 17 * b * b + s) / 1000 for s in (0, 17, -31)] for a, b in cells]
    settings = pd.DataFrame(cells, index=names, columns=["a", "b"])
    found = factorial_effects(pd.DataFrame(scores, index=names), settings)
    assert found.main["p"].isna().all()
    assert (found.interactions["p"] == 1.0).all(), "an additive grid has no interactions"
