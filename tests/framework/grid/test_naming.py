"""Names of arms are short, distinct and fit for folders."""

import re

import pytest

from framework.configuration import Reference
from framework.errors import UserError
from framework.grid.naming import LONGEST, arm_name, check_name, short_keys


def test_keys_are_as_short_as_they_can_be():
    keys = short_keys(["losses.tvm.decay", "a.gap.std", "b.clamp.std", "ema/c.constant.decay"])
    assert keys["a.gap.std"] == "gap.std"
    assert keys["b.clamp.std"] == "clamp.std"
    assert keys["losses.tvm.decay"] == "tvm.decay"
    assert keys["ema/c.constant.decay"] == "constant.decay"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0.9, "k=0.9"),
        (-1e-5, "k=-1e-05"),
        (None, "k=None"),
        (True, "k=True"),
        ((1, 2, 4), "k=1-2-4"),
        ("a b/c", "k=a-b-c"),
        ("", "k=empty"),
        (Reference("", "time_samplers.gap", True), "k=gap"),
        (Reference("slow", "optimizers.adamw", False), "k=slow-adamw"),
        ({"a": 1}, "k=a-1"),
    ],
)
def test_values_read_well_and_fit_a_folder(value, name):
    assert arm_name({"x.k": value}, {"x.k": "k"}) == name
    check_name(name, "name")


def test_long_names_are_cut_and_stay_distinct():
    names = [arm_name({"x.k": f"{'a' * 300}{end}"}, {"x.k": "k"}) for end in "bc"]
    assert len(set(names)) == 2
    assert all(len(name) <= LONGEST and re.fullmatch(r"k=a+\+[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "..", "report", "x" * 200, "a b"])
def test_names_that_are_no_folders_are_refused(name):
    with pytest.raises(UserError):
        check_name(name, "grid.name")
