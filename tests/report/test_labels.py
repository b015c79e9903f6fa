import random

from framework.report.figures.labels import WIDTH, arm_labels, level


def test_arms_of_a_product_are_named_by_their_values():
    found = arm_labels(["decay=0.9,sampler=gap", "decay=0.99,sampler=clamp"])
    assert found.keys == "decay · sampler"
    assert list(found.of.values()) == ["0.9 · gap", "0.99 · clamp"]


def test_other_names_stay():
    for names in (["decay=0.9", "decay=0.99"], ["baseline", "a=1,b=2"], ["a=1,b=2", "a=1,c=2"],
                  ["a=1,b=2"], ["betas=(1, 2),b=3", "betas=(2, 3),b=4"]):  # fmt: skip
        found = arm_labels(names)
        assert (found.keys, list(found.of.values())) == ("", names)


def test_arms_beside_a_product_keep_their_names():
    found = arm_labels(["decay=0.9,sampler=gap", "dyt", "decay=0.99,sampler=clamp", "baseline"])
    assert found.keys == "decay · sampler"
    assert list(found.of.values()) == ["0.9 · gap", "dyt", "0.99 · clamp", "baseline"]


def test_long_names_lose_the_words_that_they_share():
    names = [f"normalization_replaced_by_{norm}_everywhere" for norm in ("layer", "lasso")]
    assert list(arm_labels([*names, "baseline"]).of.values()) == [
        "…layer_everywhere", "…lasso_everywhere", "baseline",
    ]  # fmt: skip
    keys = [f"a_setting_whose_name_is_by_itself_long={value}" for value in (1, 2)]
    assert list(arm_labels(keys).of.values()) == ["1", "2"]


def test_labels_that_would_be_alike_begin_with_a_number():
    names = ["short", *(f"a{'b' * 40}{end}{'c' * 20}" for end in "xy")]
    labels = list(arm_labels(names).of.values())
    assert [label.partition(" ")[0] for label in labels] == ["#1", "#2", "#3"]
    assert labels[0] == "#1 short"


def test_no_two_arms_are_ever_alike():
    draw = random.Random(0)
    pieces = ["a", "b" * 25, "c_" * 15, "x=1", "x=2", "y=1", ",", "_", "…", "#1 ", "#2 ", "·"]
    for _ in range(3000):
        few = draw.sample(pieces, 4)  # so that names share heads, tails and keys
        names = {"".join(draw.choices(few, k=draw.randint(1, 5))) for _ in range(6)}
        labels = arm_labels(sorted(names)).of
        assert set(labels) == names
        assert len(set(labels.values())) == len(names), labels
        assert max(map(len, labels.values())) <= WIDTH + len("#6 ")


def test_the_baseline_is_marked_once():
    labels = arm_labels(["baseline", "rms"])
    assert labels.marked("baseline", "baseline") == "baseline"
    assert labels.marked("rms", "rms") == "rms (baseline)"
    assert labels.marked("rms", None) == labels.marked("rms", "baseline") == "rms"


def test_levels_lose_what_is_the_same_for_all_of_a_kind():
    assert level("@time_samplers.gap()") == "gap"
    assert level("@gap") == "gap"
    assert level("0.99") == "0.99"
