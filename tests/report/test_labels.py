from framework.report.figures.labels import arm_labels, level


def test_arms_of_a_product_are_named_by_their_values():
    found = arm_labels(["decay=0.9,sampler=gap", "decay=0.99,sampler=clamp"])
    assert found.keys == "decay · sampler"
    assert list(found.of.values()) == ["0.9 · gap", "0.99 · clamp"]


def test_other_names_stay():
    for names in (["decay=0.9", "decay=0.99"], ["baseline", "a=1,b=2"], ["a=1,b=2", "a=1,c=2"],
                  ["a=1,b=2"], ["betas=(1, 2),b=3", "betas=(2, 3),b=4"]):  # fmt: skip
        found = arm_labels(names)
        assert (found.keys, list(found.of.values())) == ("", names)


def test_levels_lose_what_is_the_same_for_all_of_a_kind():
    assert level("@time_samplers.gap()") == "gap"
    assert level("@gap") == "gap"
    assert level("0.99") == "0.99"
